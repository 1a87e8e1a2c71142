"""Break each defence of docs/security.md once, and see the test that holds it fail: `python -m tools.break_defences [TEXT …]`.

It works on a copy of the tree; with TEXT only on breakages that have one of them in their test, file or replaced text. Each test
runs unbroken first: one that fails there notices nothing. Exits 1 if a test passed with its defence broken.
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
# Ignored by git, but needed by tests: cdk and its tools.
BESIDE = ("node_modules",)
# pytest's exit codes: https://docs.pytest.org/en/stable/reference/exit-codes.html
PASSED, FAILED = "passed", "failed"


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


def main(wanted: list[str]) -> int:
    """Break them one after the other, and print a line each."""
    chosen = [each for each in breakages() if not wanted or any(text in _words(each) for text in wanted)]
    unbroken: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="defences-") as folder:
        copy = Path(folder)
        for name in _tracked():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        for name in BESIDE:
            (copy / name).symlink_to(ROOT / name)
        tests = list(dict.fromkeys(each.test for each in chosen))
        # All at once is quicker; one that fails is found by itself below.
        if _outcome(copy, tests) == PASSED:
            unbroken = dict.fromkeys(tests, PASSED)
        held = [_is_noticed(copy, each, unbroken) for each in chosen]
    print(f"{sum(held)} of {len(held)} breakages were noticed")
    return 0 if all(held) else 1


def _words(each: Breakage) -> str:
    return f"{each.test} {each.file} {each.old}"


def _tracked() -> list[str]:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in found.stdout.splitlines() if (ROOT / name).is_file()]


def _is_noticed(copy: Path, each: Breakage, unbroken: dict[str, str]) -> bool:
    place = copy / each.file
    whole = place.read_text(encoding="utf-8")
    if whole.count(each.old) != 1:
        print(f"no longer there: {each.file}: {each.old}", flush=True)
        return False
    if each.test not in unbroken:
        unbroken[each.test] = _outcome(copy, [each.test])
    if unbroken[each.test] != PASSED:
        print(f"UNBROKEN: {unbroken[each.test]}: {each.test}", flush=True)
        return False
    place.write_text(whole.replace(each.old, each.new), encoding="utf-8")
    try:
        outcome = _outcome(copy, [each.test])
    finally:
        place.write_text(whole, encoding="utf-8")
    # Anything else than a failed test, such as a module that can't be imported, has noticed nothing.
    said = {FAILED: "noticed", PASSED: "NOT NOTICED"}.get(outcome, outcome.upper())
    print(f"{said}: {each.test}: {each.file}: {each.old}", flush=True)
    return outcome == FAILED


def _outcome(copy: Path, tests: list[str]) -> str:
    """Run tests, and return pytest's result in words."""
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        return f"not over after {LONGEST_S} s"
    return {0: PASSED, 1: FAILED}.get(finished.returncode, f"broke off ({finished.returncode})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
