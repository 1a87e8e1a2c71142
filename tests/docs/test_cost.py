"""docs/cost.md says what the script computes from the functions' calls as they are now."""

from __future__ import annotations

import re

import pytest

from benchmarks import cost


@pytest.fixture(scope="module")
def figures() -> dict[str, object]:
    return cost.compute()


def test_the_page_is_what_the_script_computes(figures: dict[str, object]) -> None:
    said = cost.PAGE.read_text(encoding="utf-8")
    assert said == cost.page(figures), "run `python -m benchmarks.cost`"


def test_every_price_is_used_and_every_call_has_one(figures: dict[str, object]) -> None:
    calls = figures["names"]["calls"]  # type: ignore[index]
    asked = {name.partition(":")[0] for name in calls}
    assert asked <= {*cost.PRICED, *cost.FREE, "dynamodb", "s3", "lambda", "sesv2"}
    source = (cost.ROOT / "benchmarks" / "cost.py").read_text(encoding="utf-8")
    assert [name for name in cost.PRICES if not re.search(rf"[\"']{name}[\"']", source)] == []
