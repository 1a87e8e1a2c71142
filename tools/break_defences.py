"""Break each defence of docs/security.md once, and see the test that holds it fail: `python -m tools.break_defences [TEXT]`.

It works on a copy of the tree; with TEXT only on defences whose test has it in its name. Exits 1 if a test passed all the same.
tests/docs/test_security.py checks that every text to replace stands exactly once in its file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".toml")
LONGEST_S = 600
# pytest's exit codes: https://docs.pytest.org/en/stable/reference/exit-codes.html
PASSED, FAILED = 0, 1


@dataclass(frozen=True)
class Breakage:
    """One change that a test has to notice."""

    test: str
    file: str
    old: str
    new: str


def breakages() -> list[Breakage]:
    """All of them, in the order of the file."""
    return [Breakage(**each) for each in tomllib.loads(LIST.read_text(encoding="utf-8"))["break"]]


def main(wanted: str = "") -> int:
    """Break them one after the other, and print a line each."""
    chosen = [each for each in breakages() if wanted in each.test]
    with tempfile.TemporaryDirectory(prefix="defences-") as folder:
        copy = Path(folder)
        for name in _tracked():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        held = [_is_noticed(copy, each) for each in chosen]
    print(f"{sum(held)} of {len(held)} breakages were noticed")
    return 0 if all(held) else 1


def _tracked() -> list[str]:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in found.stdout.splitlines() if (ROOT / name).is_file()]


def _is_noticed(copy: Path, each: Breakage) -> bool:
    place = copy / each.file
    whole = place.read_text(encoding="utf-8")
    if whole.count(each.old) != 1:
        print(f"no longer there: {each.file}: {each.old}")
        return False
    place.write_text(whole.replace(each.old, each.new), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *each.test.split()]
        finished = subprocess.run(
            command,
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
    finally:
        place.write_text(whole, encoding="utf-8")
    # Anything else than a failed test, such as a module that can't be imported, has noticed nothing.
    said = {FAILED: "noticed", PASSED: "NOT NOTICED"}.get(finished.returncode, f"BROKE OFF ({finished.returncode})")
    print(f"{said}: {each.test}: {each.file}: {each.old}", flush=True)
    return finished.returncode == FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
