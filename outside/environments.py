"""Environments of foreign packages, each made from a lock with hashes and kept, as run.py's are, by the lock's digest."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

from outside.run import CACHE, ROOT

# Locks of clients, SDKs and judges; suites that use the same one share its environment.
LOCKS = ROOT / "outside" / "locks"


def environment(lock: Path, *, first: str = "") -> str:
    """Return the Python of the environment that a lock describes; this Python if there is no lock.

    Args:
        lock: the file with versions and hashes.
        first: a requirement that is installed before the lock; torch is in no lock.

    Raises:
        subprocess.CalledProcessError: pip can't install it.
    """
    if not lock.exists():
        return sys.executable
    text = lock.read_bytes()
    digest = hashlib.sha256(f"{sys.version_info[:2]}|{first}".encode() + text).hexdigest()[:16]
    place = CACHE / f"{lock.parents[1].name}-{lock.stem}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    # Two checkouts may run at once.
    with place.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            logging.info("%s: making its environment", place.name)
            # pip would take a package that lies on this one's path for installed.
            clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True, env=clean)
            options = ["--quiet", "--disable-pip-version-check", *(["--require-hashes"] if b"--hash=" in text else [])]
            if first:
                subprocess.run([place / "bin" / "pip", "install", "--quiet", first], check=True, env=clean)
                options.append("--no-deps")
            subprocess.run([place / "bin" / "pip", "install", *options, "-r", lock], check=True, env=clean)
            (place / "whole").touch()
    return str(place / "bin" / "python")
