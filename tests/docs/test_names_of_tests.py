"""Each process that collects the tests gives them the same names: pytest-xdist's workers compare theirs and run nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKED = """
import gzip, os, pytest

@pytest.mark.parametrize("content", [gzip.compress(b"a", mtime=int(os.environ["CLOCK"])), b"b"])
def test_a(content): ...
"""


def collected(file: Path, clock: int) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "--collect-only",
        f"--rootdir={file.parent}",
        str(file),
    ]
    environment = {**os.environ, "CLOCK": str(clock), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=file.parent, env=environment, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_a_test_of_bytes_is_not_named_by_the_time_in_them(tmp_path: Path) -> None:
    file = tmp_path / "test_packed.py"
    file.write_text(PACKED, encoding="utf-8")
    names = collected(file, clock=1)
    assert len(names) == 2
    assert names == collected(file, clock=2)
