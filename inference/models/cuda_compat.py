"""cuda-compat on hosts whose NVIDIA driver is older than torch's CUDA.

torch's CUDA 13 needs driver 580 or newer. SageMaker's Batch Transform hosts have driver 535. There, the base image's
cuda-compat libraries replace the driver's own if they come first on the library path.
https://docs.nvidia.com/deploy/cuda-compatibility/
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

LIBRARY_PATH = "LD_LIBRARY_PATH"
# The first driver that runs CUDA 13 without cuda-compat.
NATIVE_DRIVER = 580
_DRIVER = Path("/proc/driver/nvidia/version")
_COMPAT = Path("/usr/local/cuda/compat")
_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+)\.")


def library_path(environment: Mapping[str, str], *, driver: Path = _DRIVER, compat: Path = _COMPAT) -> str | None:
    """Return the library path with cuda-compat first, if this machine's driver is too old and the path lacks it.

    Args:
        environment: the process's variables.
        driver: the file in which the NVIDIA driver writes its version.
        compat: the folder of the cuda-compat libraries.
    """
    version = driver_version(driver)
    if version is None or version >= NATIVE_DRIVER or not (compat / "libcuda.so.1").exists():
        return None
    present = environment.get(LIBRARY_PATH, "")
    return None if present.split(":")[0] == str(compat) else ":".join(filter(None, (str(compat), present)))


def driver_version(driver: Path = _DRIVER) -> int | None:
    """Return the major version of the NVIDIA driver; None if there is none."""
    try:
        found = _VERSION.search(driver.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return int(found[1]) if found else None


def prefer_compat(environment: Mapping[str, str]) -> None:
    """Restart this process with cuda-compat first if it is needed; the loader reads the path only at the start."""
    if (path := library_path(environment)) is not None:
        again = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, again, {**environment, LIBRARY_PATH: path})  # noqa: S606  # this very program
