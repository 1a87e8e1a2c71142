"""Slices in a mail: where the metrics are worst."""

from __future__ import annotations

from typing import Any

import pytest

from promotion import names
from promotion.domain.metrics import evidence_of
from promotion.domain.model import Evidence, Metric
from promotion.rendering.documents.evidence import (
    comparison,
    problems,
    sample_documents,
    slice_documents,
    worst_slices,
)
from promotion.rendering.documents.rows import MetricRow
from tests.rules import scenarios
from tests.rules.scenario import page

SLICES: dict[str, Any] = {
    "port": {
        "Bergen": {"bleu": {"value": 1}, "rougeL": {"value": 0.9, "n": 40}},
        "Aden": {"rougeL": {"value": 0.2, "n": 11}},
        "Oslo": {"rougeL": {"value": 0.66, "n": 60}},
        "<b>Kiel</b>": {"rougeL": {"value": 0.5, "n": 9}},
    }
}


def test_the_mail_says_where_the_gated_metric_is_worst() -> None:
    scenario = scenarios.open_gate()
    told = scenario.mails(names.APPROVAL_REQUESTED, slices=lambda uri: SLICES)[-1]
    assert "Weakest slice: port = Aden: rougeL 0.2, −0.46 from the whole, n = 11" in " ".join(told.text.split())
    assert "port = Aden: rougeL 0.2" in told.html


def test_the_name_of_a_slice_is_text() -> None:
    scenario = scenarios.open_gate()
    told = scenario.mails(
        names.APPROVAL_REQUESTED, slices=lambda uri: {"port": {"<b>Kiel</b>": SLICES["port"]["Aden"]}}
    )
    assert "<b>Kiel</b>" not in told[-1].html
    assert "<b>Kiel</b>" in told[-1].text


def row(metric: str, *, lower: bool = False) -> MetricRow:
    (found,) = comparison(
        Evidence(source="registration", metrics={metric: Metric(value=0.5)}),
        None,
        (),
        frozenset({metric} if lower else ()),
    )
    return found


def test_the_worst_is_the_largest_where_lower_is_better() -> None:
    slices = {"port": {name: {"loss": value} for name, value in (("Aden", 0.2), ("Oslo", 0.9), ("Kiel", 0.4))}}
    found = worst_slices(slices, [row("loss", lower=True)], 2)
    assert [each["slice"] for each in found] == ["port = Oslo", "port = Kiel"]


@pytest.mark.parametrize("name", ["mape", "brier", "log_loss", "rmse", "eval_loss", "calibration_error"])
def test_errors_are_better_where_they_are_lower(name: str) -> None:
    assert row(name)["lower_is_better"]


@pytest.mark.parametrize("name", ["ndcg_at_10", "map", "mrr", "r2", "auc"])
def test_scores_are_better_where_they_are_higher(name: str) -> None:
    assert not row(name)["lower_is_better"]


def test_violated_constraints_are_told_as_a_problem() -> None:
    known: dict[str, Any] = {"source": "inference", "environment": "dev", "run_id": "r", "status": "Completed"}
    metrics = {"auc": Metric(value=0.9)}
    told = problems(Evidence(**known, metrics=metrics, counts={"records": 10, "constraint_violations": 2}), None)
    assert "The input violates 2 constraints of the model's constraints.json." in told
    assert not problems(Evidence(**known, metrics=metrics, counts={"records": 10, "constraint_violations": 0}), None)


@pytest.mark.parametrize("said", ["Drift was not measured: the input has no column of the baseline (a).", 3, None])
def test_drift_that_was_not_measured_is_told_as_a_problem(said: object) -> None:
    document = {"metrics": {"auc": 0.9}, "counts": {"records": 90}, "drift": {}, "drift_problem": said}
    told = problems(evidence_of(document, source="inference", environment="dev", run_id="r", status="Completed"), None)
    assert told == ([said] if isinstance(said, str) else [])


def test_slices_that_are_none_leave_nothing_to_say() -> None:
    assert worst_slices({}, [row("rougeL")], 3) == []
    assert worst_slices({"port": ["rougeL"], "berth": {"1": {"rougeL": {"value": "many"}}}}, [row("rougeL")], 3) == []


@pytest.mark.parametrize("value", [pytest.param(10**400, id="beyond floats"), float("nan"), float("inf"), True])
def test_a_value_that_no_float_holds_is_left_out(value: object) -> None:
    assert worst_slices({"port": {"Aden": {"rougeL": {"value": value}}}}, [row("rougeL")], 3) == []
    assert sample_documents([{"input": "a", "score": value}])[0]["score"] is None


@pytest.mark.parametrize("n", ["<b>many</b>", [[]], 10**400, -1, float("nan"), True])
def test_a_number_of_samples_that_is_none_is_left_out(n: object) -> None:
    (found,) = slice_documents({"port": {"Aden": {"rougeL": {"value": 0.2, "n": n}}}}, {})
    assert (found["value"], found["n"]) == (0.2, None)


def test_a_page_shows_no_more_slices_than_an_answer_holds() -> None:
    slices = {"port": {f"port {number}": {"rougeL": 0.5} for number in range(50_000)}}
    shown = page("request", scenarios.open_gate().request("test", 2, slices=slices))
    assert len(shown) < 2_000_000


def test_a_sample_that_is_nested_without_end_is_empty() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    (found,) = sample_documents([{"id": nested, "output": nested, "score": 0.1}])
    assert (found["id"], found["output"]) == ("", "")
