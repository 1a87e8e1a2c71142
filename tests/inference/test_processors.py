"""Other processors than this one: what oneDNN would do on an older one is had of it by its own variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, torch
from inference.engines.weights import Linear, can_fuse
torch.manual_seed(1)
dtype = getattr(torch, sys.argv[1])
weight, rows = torch.randn(48, 32, dtype=dtype), torch.randn(5, 32, dtype=dtype)
found = Linear(weight, None, fused=can_fuse(weight.device, dtype)).activated(rows, "relu")
wanted = torch.relu(rows.float() @ weight.float().T)
assert torch.allclose(found.float(), wanted, rtol=0.02, atol=0.02), (found, wanted)
"""


@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "DEFAULT"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_products_are_computed_whatever_the_processor_can_pack(dtype: str, instructions: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, dtype],
        cwd=ROOT,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
