"""Patches for moto's differences from AWS, one file for each service. `apply()` patches this process.

The tests' in-process moto is patched in the same way, so that adapters are tested against AWS's behaviour, not moto's.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil


@functools.cache
def apply() -> None:
    """Patch moto, once in a process, by the function `mend` of each module here."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}").mend()
