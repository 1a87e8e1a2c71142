"""The Python environment of XGBoost's and scikit-learn's containers, made at first use, cached by its lock's digest."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from promotion.errors import Invalid

LOCK = Path(__file__).with_name("requirements.txt")
_making = threading.Lock()


def python() -> str:
    """Return the environment's interpreter.

    Raises:
        Invalid: the environment can't be made; the error has the end of pip's output.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promotion-local"
    place = cache / f"tabular-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    made = place / "made"
    with _making:
        if not made.exists():
            shutil.rmtree(place, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(place)])
            quiet = ["--quiet", "--disable-pip-version-check"]
            _run([str(place / "bin" / "python"), "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(LOCK)])
            made.touch()
    return str(place / "bin" / "python")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise Invalid("Image", f"the environment of this container can't be made: {said}")
