"""`python -m inference score`, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def score_by_command(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Score the files of `folder` into its `score`; return the metrics document, and what the command printed.

    Raises:
        CalledProcessError: the command failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "inference", "score", *options, "--output", "score"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads((folder / "score" / "metrics.json").read_text()), done.stdout
