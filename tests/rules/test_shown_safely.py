"""Texts of other people are limited in length, and change the direction of no line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promotion.domain.model import Metric
from promotion.formatting import change, number, share, size
from promotion.rendering.channels import notice, plain, slack, teams
from promotion.rendering.documents.board import board_document
from tests.fakes import a_registration
from tests.rules.scenario import ANN, LINKS, Scenario, measured, page, tiny_png

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**300), 10**300).map(float)
TURNING = "accu\u202eracy\u2066"


@given(NUMBERS)
@example(-1e308)
@example(-100_000_000.0)
@example(999_999_999.0)
def test_no_number_has_more_than_twelve_characters(value: float) -> None:
    assert len(number(value)) <= 11
    assert len(share(value)) <= 12


@given(NUMBERS, NUMBERS)
@example(-1e308, 0.0)
@example(99_999_999.0, 0.0)
def test_no_change_has_more_than_twelve_characters(new: float, old: float) -> None:
    assert len(change(new, old)) <= 12


def test_counts_are_still_written_out() -> None:
    assert (number(12_345.0), number(99_999_999.0), number(0.12345), share(0.05)) == (
        "12,345",
        "99,999,999",
        "0.1235",
        "5%",
    )


def test_a_name_of_a_metric_turns_no_line_of_a_page() -> None:
    scenario = Scenario()
    scenario.registers(1, evidence=a_registration(metrics={TURNING: Metric(value=0.5)}, latency_ms={TURNING: 3.0}))
    for shown in (
        page("version", scenario.version(1)),
        page("model", scenario.model()),
        page("request", scenario.request("dev", 1)),
    ):
        assert not {"\u202e", "\u2066"} & set(shown)
        assert "accuracy" in shown


def test_no_name_of_a_runs_document_turns_a_line_anywhere() -> None:
    """Names of metrics, slices, latencies, engines and drift, in pages, comparisons, mails and messages."""
    hostile: dict[str, Any] = {
        "metrics": {
            "rougeL": Metric(value=0.7, n=40),
            "exact_match": Metric(value=0.5, n=40),
            TURNING: Metric(value=0.5, low=0.4, high=0.6, n=40),
        },
        **{field: {TURNING: 3.0} for field in ("latency_ms", "throughput", "drift")},
        "engine": {TURNING: TURNING, "name": TURNING, "device": TURNING},
        "licence": TURNING,
        "attached": (TURNING,),
        "task": TURNING,
        "problem": TURNING,
        "cost_usd": 1.0,
        "cost_basis": TURNING,
        "pictures": (f"s3://evidence/{TURNING}.png", f"s3://evidence/metrics{TURNING}.png"),
    }
    scenario = Scenario()
    scenario.registers(1, evidence=a_registration(**hostile))
    scenario.decides("dev", 1)
    for run in ("dev-1", TURNING):
        scenario.runs("dev", 1, measured(0.7, run_id=run, **{**hostile, "reporter": TURNING}))
    scenario.decides("test", 1)
    scenario.registers(2, evidence=a_registration(**hostile))
    slices = {TURNING: {TURNING: {TURNING: {"value": 0.5, "n": 3}}}}
    samples = [{"id": TURNING, "input": TURNING, "output": TURNING, "reference": TURNING, "score": 0.1}]
    shown = {
        "model": page("model", scenario.model()),
        "request": page(
            "request", scenario.request("test", 1, slices=slices, samples=samples, picture=lambda _: tiny_png())
        ),
        "board": page("board", scenario.board(wanted=TURNING, owner=TURNING)),
        "a version": page("version", scenario.version(1)),
        "two versions": page("version", scenario.version(2, with_=1)),
        "mails": "".join(f"{mail.subject}{mail.text}{mail.html}" for mail in scenario.mails()),
        "messages": "".join(_messages(scenario)),
    }
    assert {name for name, text in shown.items() if {"\u202e", "\u2066"} & set(text)} == set()


def _messages(scenario: Scenario) -> list[str]:
    told = [notice(event, view=scenario.view, config=scenario.config, links=LINKS) for event in scenario.events]
    cards = [json.dumps([slack(each), teams(each)], ensure_ascii=False) for each in told]
    return [*cards, *(text for each in told for text in plain(each))]


def test_the_board_names_models_whose_states_cannot_be_read() -> None:
    scenario = Scenario()
    broken = ["churn", "fraud\u202e"]
    document = board_document([], ANN, scenario.config, links=LINKS, now=scenario.now, unreadable=broken)
    assert document["unreadable"] == ["churn", "fraud"]
    assert "What the ledger says of churn and fraud can" in page("board", document)
    assert "promotion verify" in page("board", document)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (999_499, "999 kB"), (999_999, "1 MB"), (1 << 40, "1.1 TB")],
)
def test_a_size_has_three_digits_and_its_unit(count: int, text: str) -> None:
    assert size(count) == text
