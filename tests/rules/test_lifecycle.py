"""The table of docs/lifecycle.md is what the service does, in every cell, in whatever order things happen."""

from __future__ import annotations

import pytest

from tests.rules.lifecycle_walk import Walk
from tools import lifecycle
from tools.lifecycle import PAGE, cells, page

STEPS, MOST_STEPS = 1_500, 10_000


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tools.lifecycle"


def test_every_cell_of_the_table_is_walked() -> None:
    walked = Walk(seed=16).walk(STEPS, most=MOST_STEPS)
    assert sorted(set(cells()) - set(walked)) == []


def test_a_table_that_says_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lifecycle.Happening(about="", cells={"Pending": lifecycle.ASKED}, other=lifecycle.REFUSED)
    monkeypatch.setitem(lifecycle.EVENTS, "approved", wrong)
    with pytest.raises(AssertionError):
        Walk(seed=3).walk(STEPS)
