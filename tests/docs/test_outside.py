"""Every suite of outside/ can be run, is locked with hashes, and is described."""

from __future__ import annotations

import re

import pytest

from outside.run import ROOT, Suite, suites

SUITES = {suite.name: suite for suite in suites()}


def test_every_suite_is_in_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in SUITES)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_what_a_suite_asks_for_is_locked_with_hashes(suite: Suite) -> None:
    if not (suite.folder / "requirements.in").exists():
        return
    text = suite.lock.read_text(encoding="utf-8").replace("\\\n", " ")
    pinned = [line for line in text.splitlines() if "==" in line]
    assert pinned
    assert [line for line in pinned if "--hash=sha256:" not in line] == []
    assert not re.search(r"https?://|index", text), "a lock names no registry"


def test_no_suite_may_take_longer_than_all_of_them() -> None:
    limit = re.search(r'"make test-outside" --limit (\d+)', (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert limit
    assert max(suite.minutes for suite in SUITES.values()) < int(limit[1])


def test_decisions_are_numbered_without_holes_in_one_form() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:3]) for page in found] == list(range(1, len(found) + 1))
    for number, page in enumerate(found, 1):
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# {number}\. \S.*\n\n\*\*Decided\.\*\* ", text), page.name
        assert "**Given up.**" in text, page.name
