"""The environment of XGBoost's and scikit-learn's containers: made once for each lock, and again after a failure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local.containers import packages
from promotion.errors import Invalid

# An interpreter of Python as far as it is used here: `-m venv` copies it, and `-m pip` fails once where it is told to.
INTERPRETER = """#!/bin/sh
echo "$2" >> "$CALLS"
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit; fi
printf '%s\\n' "$@" > "$CALLS.pip"
if [ -f "$CALLS.fail" ]; then
    rm "$CALLS.fail"
    echo Collecting; echo "a warning" >&2; echo "ERROR: no xgboost for this platform" >&2; exit 1
fi
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the modules that were run, in an empty cache."""
    interpreter = tmp_path / "interpreter"
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def test_an_environment_is_made_once_from_hashed_packages(calls: Path, tmp_path: Path) -> None:
    first = packages.python()
    assert packages.python() == first
    assert calls.read_text().split() == ["venv", "pip"]
    asked = calls.with_name("calls.pip").read_text().splitlines()
    assert asked[-3:] == ["--require-hashes", "-r", str(packages.LOCK)]
    assert Path(first).is_relative_to(tmp_path / "cache" / "promotion-local")
    assert Path(first).exists()


def test_another_lock_has_another_environment(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packages.python()
    monkeypatch.setattr(packages, "LOCK", tmp_path / "requirements.txt")
    (tmp_path / "requirements.txt").write_text("xgboost==0 --hash=sha256:ab\n")
    assert packages.python() != first
    assert calls.read_text().split() == ["venv", "pip"] * 2


def test_a_failure_has_the_end_of_pips_output_and_the_next_use_begins_anew(calls: Path) -> None:
    calls.with_name("calls.fail").touch()
    with pytest.raises(Invalid, match=r"can't be made: ERROR: no xgboost for this platform$"):
        packages.python()
    half_made = next(Path(calls.parent, "cache", "promotion-local").iterdir()) / "half-made"
    half_made.touch()
    assert Path(packages.python()).exists()
    assert not half_made.exists()
    assert calls.read_text().split() == ["venv", "pip"] * 2


def test_without_xdg_the_cache_is_in_the_home_folder(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Path(packages.python()).is_relative_to(tmp_path / "home" / ".cache" / "promotion-local")
