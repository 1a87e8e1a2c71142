"""Patches for moto's differences from AWS, one file for each service. `apply()` patches this process.

The tests' in-process moto is mended the same way, so that adapters are tried against AWS's behaviour, not moto's.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil


@functools.cache
def apply() -> None:
    """Mends moto, once a process: each module here has a `mend`."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}").mend()
