"""Environments of foreign packages, each made from a lock with hashes, and made again where the lock has changed."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from pathlib import Path


def environment(lock: Path, place: Path) -> str:
    """The Python of the environment at `place` that holds what `lock` names; this Python where there is no lock."""
    if not lock.exists():
        return sys.executable
    digest, told = hashlib.sha256(lock.read_bytes()).hexdigest(), place / "installed"
    if not told.exists() or told.read_text() != digest:
        logging.info("%s: making its environment", place.name)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        options = ["--quiet", "--disable-pip-version-check"]
        if b"--hash=" in lock.read_bytes():
            options.append("--require-hashes")
        subprocess.run([place / "bin" / "pip", "install", *options, "-r", lock], check=True)
        told.write_text(digest)
    return str(place / "bin" / "python")
