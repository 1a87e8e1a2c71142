"""Numbers in metrics documents that aren't what they seem, and what a gate makes of them."""

from __future__ import annotations

import pytest

from promotion.config.settings import Gate
from promotion.domain.gate_sentences import gate_why
from promotion.domain.gates import evaluate
from promotion.domain.metrics import evidence_of, read_metrics
from promotion.domain.model import Metric
from promotion.rendering.documents.evidence import comparison, problems
from tests.fakes import a_registration

SHARES = (
    "rougeL",
    "rouge1",
    "ROUGE2",
    "eval_rougeL",
    "exact_match",
    "accuracy",
    "macro_f1",
    "f1",
    "precision",
    "recall",
    "auc",
    "map",
    "mrr",
    "ndcg_at_10",
)


def judged(gate: Gate, value: float, live: float | None = None) -> tuple[bool, str]:
    before = a_registration(metrics={gate.metric: Metric(value=live)}) if live is not None else None
    [result] = evaluate([gate], a_registration(metrics={gate.metric: Metric(value=value)}), before)
    return result.open, gate_why(result)


@pytest.mark.parametrize("name", SHARES)
def test_a_share_above_1_passes_no_gate_and_looks_like_percent(name: str) -> None:
    is_open, why = judged(Gate(metric=name, min=0.6), 12.3)
    assert not is_open
    assert why == f"{name} is 12.3, which looks like percent; it is a share, from 0 to 1: write it as one."


def test_a_share_above_1_passes_no_gate_on_regression() -> None:
    for live in (None, 0.6, 70.0):
        assert not judged(Gate(metric="rougeL", largest_regression=0.05), 65.0, live)[0]


def test_a_share_is_not_held_against_a_live_one_in_percent() -> None:
    assert judged(Gate(metric="rougeL", largest_regression=0.05), 0.7, 70.0) == (True, "")


@pytest.mark.parametrize(
    ("name", "limit", "value"), [("rougeL", 0.6, 1.0), ("accuracy", 60, 71.0), ("rmse", 0.6, 12.3)]
)
def test_other_metrics_and_gates_in_percent_are_compared_as_they_are(name: str, limit: float, value: float) -> None:
    assert judged(Gate(metric=name, min=limit), value) == (True, "")


@pytest.mark.parametrize("value", [-0.3, 12.3])
def test_a_value_beyond_any_known_scale_has_no_bar(value: float) -> None:
    [row] = comparison(a_registration(metrics={"rmse": Metric(value=value)}), None, [])
    assert row["scale"] == {}


def test_a_run_on_another_engine_or_device_is_told() -> None:
    before = a_registration(engine={"name": "vllm", "device": "cuda", "dtype": "bfloat16"})
    now = a_registration(engine={"name": "transformers", "device": "cuda"})
    said = "engine was vllm, now transformers and dtype was bfloat16, now unknown"
    assert f"It did not run as what is live did: {said}." in problems(now, before)
    assert problems(now, now) == problems(now, a_registration()) == []


def test_numbers_as_text_are_read() -> None:
    found = read_metrics({"rougeL": "0.71", "model": "t5", "loss": "nan", "f1": {"value": "0.5", "low": "0.4"}})
    assert found == {"rougeL": Metric(value=0.71), "f1": Metric(value=0.5, low=0.4)}


def test_no_interval_comes_of_a_standard_deviation() -> None:
    document = {"regression_metrics": {"mse": {"value": 4.9, "standard_deviation": 2.2}}}
    assert read_metrics(document) == {"mse": Metric(value=4.9)}


def test_a_gate_reads_the_name_that_a_trainer_writes() -> None:
    evidence = a_registration(metrics={"eval_rougeL": Metric(value=0.7), "eval_loss": Metric(value=0.2)})
    [result] = evaluate([Gate(metric="rougeL", min=0.6)], evidence, None)
    assert (result.open, result.value) == (True, 0.7)
    rows = comparison(evidence, evidence, [result])
    assert [row["metric"] for row in rows] == ["rougeL", "eval_loss"], "the gate's row is the metric's row"
    assert rows[0]["candidate"]["value"] == 0.7
    assert rows[0]["live"] == rows[0]["candidate"]


def test_a_metric_by_its_own_name_comes_before_the_trainers() -> None:
    evidence = a_registration(metrics={"rougeL": Metric(value=0.5), "eval_rougeL": Metric(value=0.7)})
    [result] = evaluate([Gate(metric="rougeL", min=0.6)], evidence, None)
    assert (result.open, result.value) == (False, 0.5)
    assert [row["metric"] for row in comparison(evidence, None, [result])] == ["rougeL", "eval_rougeL"]


def test_a_metric_that_is_no_number_is_named() -> None:
    document = {"classification_metrics": {"accuracy": {"value": "71 %"}, "f1": "0,5"}, "model": "t5", "auc": 0.8}
    evidence = evidence_of(document, source="registration")
    assert evidence.problem == "accuracy is '71 %', which is no number and f1 is '0,5', which is no number"
    assert problems(evidence, None)[0] == f"Of the registered metrics: {evidence.problem}."
    assert evidence_of({"accuracy": "0.71", "model": "t5"}, source="registration").problem == ""
