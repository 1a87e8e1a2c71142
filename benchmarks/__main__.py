"""`python -m benchmarks [--long] [NAME …]`: every module here that has a `main(long)`, one after the other."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import re
import sys
import time
from pathlib import Path

import benchmarks

NOT_BENCHMARKS = {"__main__", "faults"}


def main() -> int:
    """Run the named benchmarks, or all; a failing one doesn't keep the others from running."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--long", action="store_true", help="the sizes that take an hour")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    failed = 0
    for name in options.names or found():
        begun = time.monotonic()
        print(f"{name} …", flush=True)
        try:
            figures = importlib.import_module(f"benchmarks.{name}").main(long=options.long)
        except Exception as error:  # noqa: BLE001 - it is reported, and the others still run
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed += 1
            continue
        print(json.dumps(figures, indent=2, default=str))
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if failed else 0


def found() -> list[str]:
    """Names of the modules beside this one that are benchmarks."""
    folder = Path(next(iter(benchmarks.__path__)))
    names = sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if module.name not in NOT_BENCHMARKS)
    # Read and not imported: one that lacks a package must not keep the others from being found.
    main = re.compile(r"^def main\((\*, )?long: bool", re.MULTILINE)
    return [name for name in names if main.search((folder / f"{name}.py").read_text(encoding="utf-8"))]


if __name__ == "__main__":
    sys.exit(main())
