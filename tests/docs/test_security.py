"""Every test that docs/security.md names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tools.break_defences import Breakage, breakages

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", PAGE)))


def test_every_defence_names_its_test() -> None:
    assert len(NAMED) > 25


def test_every_row_of_a_threat_names_its_test() -> None:
    rows = re.findall(r"^\| (?!threat|---)([^|]+) \|[^|]+\|([^|]*)\|[^|]*\|$", PAGE, re.MULTILINE)
    assert len(rows) > 40
    assert [threat for threat, tests in rows if not re.search(r"`tests/[\w/]+\.py", tests)] == []


def test_every_test_of_the_page_is_held_to_a_defence_that_is_broken_on_purpose() -> None:
    broken = {each.test for each in breakages()}
    # They hold pages to pages, and a law whose defences other tests break.
    others = {
        "tests/docs/test_security.py",
        "tests/docs/test_side_door.py",
        "tests/rules/test_policy_laws.py::test_nothing_is_live_that_was_not_let_in_through_every_environment_before",
    }
    assert [name for name in NAMED if name not in broken | others] == []


@pytest.mark.parametrize("name", NAMED)
def test_the_test_is_there(name: str) -> None:
    file, *path = name.split("::")
    inside: list[ast.stmt] = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for part in path:
        found = [each for each in inside if isinstance(each, ast.FunctionDef | ast.ClassDef) and each.name == part]
        assert found, f"{part} is not in {file}"
        inside = found[0].body


@pytest.mark.parametrize("each", breakages(), ids=lambda each: each.test)
def test_a_defence_that_is_broken_on_purpose_is_there_and_on_the_page(each: Breakage) -> None:
    assert f"`{each.test}`" in PAGE
    assert (ROOT / each.file).read_text(encoding="utf-8").count(each.old) == 1
    assert each.new != each.old
