"""What a model, or a file beside it, holds is counted or named, and never ends the score of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.scoring.documents import plain_metrics, read_baseline
from inference.scoring.score import score
from inference.scoring.table_constraints import violations
from inference.scoring.tables import read_table
from promotion.errors import Invalid
from promotion.names import BASELINE_PROBLEM, CONSTRAINTS_PROBLEM
from tests.inference.score_command import score_by_command

HUGE = 10**400
NUMBERS = ["amount", "1", "2", "3"]
PROFILE = {"columns": {"amount": {"kind": "numeric", "edges": [2.0], "shares": [0.5, 0.5]}}}


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def scored(tmp_path: Path, **options: Any) -> dict[str, Any]:
    """The score of a table of which two of three answers are right."""
    outputs = written(tmp_path / "o.csv", ["1", "2", "4"])
    references = written(tmp_path / "r.csv", ["1", "2", "3"])
    inputs = written(tmp_path / "i.csv", NUMBERS)
    return score(outputs, references, tmp_path / "score", task="regression", inputs=inputs, **options)


@pytest.mark.parametrize(
    ("constraints", "field"),
    [
        ({"features": [{"name": "amount", "completeness": HUGE}]}, "completeness"),
        ({"features": [{"name": "amount", "completeness": float("nan")}]}, "completeness"),
        (
            {"features": [{"name": "amount", "inferred_type": "Integral"}],
             "monitoring_config": {"datatype_check_threshold": HUGE}},
            "datatype_check_threshold",
        ),
        (
            {"features": [{"name": "amount"}], "monitoring_config": {"domain_content_threshold": HUGE}},
            "domain_content_threshold",
        ),
        (
            {"features": [{"name": "amount"}],
             "monitoring_config": {"distribution_constraints": {"comparison_threshold": HUGE}}},
            "comparison_threshold",
        ),
    ],
)  # fmt: skip
def test_a_number_of_400_digits_is_a_problem_of_the_constraints(
    tmp_path: Path, constraints: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid, match=field):
        violations(constraints, read_table(written(tmp_path / "t.csv", NUMBERS)), {})
    document = scored(tmp_path, baseline={**PROFILE, "constraints": constraints})
    assert document["metrics"]["mae"]["n"] == 3
    assert document["drift"].keys() == {"amount"}
    assert "violations" not in document
    assert "constraint_violations" not in document["counts"]
    assert f"Constraints were not compared: constraints.json: {field}" in document["drift_problem"]


@pytest.mark.parametrize(
    "column",
    [
        {"kind": "numeric", "edges": [HUGE], "shares": [0.5, 0.5]},
        {"kind": "numeric", "edges": [2.0], "shares": [HUGE, 0.5]},
        {"kind": "numeric", "edges": [2.0], "shares": [0.5, 0.5], "quantiles": [1.0, HUGE]},
        {"kind": "categorical", "values": ["1"], "shares": [HUGE, HUGE]},
    ],
)
def test_a_number_of_400_digits_is_a_problem_of_the_baseline(tmp_path: Path, column: dict[str, Any]) -> None:
    document = scored(tmp_path, baseline={"columns": {"amount": column}})
    assert document["drift_problem"].startswith("Drift was not measured: baseline: the column amount")
    assert document["metrics"]["mae"]["n"] == 3


def test_so_is_one_in_sagemakers_statistics(tmp_path: Path) -> None:
    buckets = [{"lower_bound": 0, "upper_bound": HUGE, "count": HUGE}, {"lower_bound": 1, "upper_bound": 2, "count": 1}]
    column = {"name": "amount", "numerical_statistics": {"distribution": {"kll": {"buckets": buckets}}}}
    document = scored(tmp_path, baseline={"features": [column]})
    assert document["drift_problem"].startswith("Drift was not measured: baseline")
    assert document["metrics"]["mae"]["n"] == 3


@pytest.mark.parametrize("text", ["{", "[" * 5_000, "[1]", "7", "\ud800".encode(errors="surrogatepass")])
def test_a_baseline_that_is_none_is_named_and_the_rest_is_scored(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    found = read_baseline(path)
    assert found is not None
    assert list(found) == [BASELINE_PROBLEM]
    document = scored(tmp_path, baseline=found)
    assert document["drift_problem"].startswith("Drift was not measured: baseline: baseline.json")
    assert document["metrics"]["mae"]["n"] == 3


def test_constraints_that_are_none_are_named_and_drift_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps(PROFILE))
    (tmp_path / "constraints.json").write_text("{")
    found = read_baseline(path)
    assert found is not None
    assert found[CONSTRAINTS_PROBLEM] == "constraints.json is not JSON."
    document = scored(tmp_path, baseline=found)
    assert document["drift"].keys() == {"amount"}
    assert document["drift_problem"].endswith("constraints.json is not JSON.")


def test_a_texts_models_baseline_that_is_none_is_named(tmp_path: Path) -> None:
    outputs = written(tmp_path / "o", ['{"id": 1, "generated_texts": ["fox"]}'])
    references = written(tmp_path / "r", ['{"id": 1, "target": "fox"}'])
    inputs = written(tmp_path / "i", ['{"id": 1, "text_inputs": "?"}'])
    document = score(
        outputs, references, tmp_path / "s", inputs=inputs, baseline={BASELINE_PROBLEM: "baseline.json is not JSON."}
    )
    assert document["drift_problem"] == "Drift was not measured: baseline: baseline.json is not JSON."
    assert document["metrics"]["exact_match"]["value"] == 1


def test_the_command_scores_beside_a_baseline_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text("{")
    (tmp_path / "approval.json").write_text("{}")
    written(tmp_path / "o.csv", ["1", "2"])
    written(tmp_path / "i.csv", NUMBERS)
    document, _ = score_by_command(
        tmp_path, "--outputs", "o.csv", "--inputs", "i.csv", "--approval", "approval.json", "--task", "regression"
    )
    assert document["drift_problem"] == "Drift was not measured: baseline: baseline.json is not JSON."


@pytest.mark.parametrize(
    "line",
    ["[" * 5_000, '{"id": 2, "run": 7, "generated_texts": ["cat"]}', '{"id": 2, "generated_texts": ["\\ud800"]}',
     '{"id": 2, "run": {"worker": "w", "started": 0, "ended": 1, "latency_bins": {"99999": 1}}, "generated_texts": "x"}',
     '{"id": 2, "run": {"worker": "w", "started": 0, "ended": 1, "engine": {"a": NaN}}, "generated_texts": ["x"]}',
     '{"id": 2, "run": {"worker": "w", "started": 0, "ended": 1, "tokens_in": 1e999}, "generated_texts": {"x": 1}}',
     '{"id": 2, "run": {"worker": "w", "started": 0, "ended": 1, "engine": {"peak_memory_bytes": "x"}}, "labels": [7]}'],
)  # fmt: skip
def test_any_line_of_a_model_costs_that_line_alone(tmp_path: Path, line: str) -> None:
    outputs = written(tmp_path / "o", ['{"id": 1, "generated_texts": ["fox"]}', line])
    references = written(tmp_path / "r", ['{"id": 1, "target": "fox"}', '{"id": 2, "target": "c\\udc00t"}'])
    document = score(outputs, references, tmp_path / "s")
    assert document["counts"]["records"] == 2
    assert document["counts"]["errors"] <= 1
    assert json.loads((tmp_path / "s" / "metrics.json").read_bytes()) == document


@pytest.mark.parametrize("line", [f'{{"prediction": {HUGE}}}', '{"prediction": "\\ud800"}', '{"prediction": NaN}'])
def test_any_row_of_a_table_costs_that_row_alone(tmp_path: Path, line: str) -> None:
    outputs = written(tmp_path / "o.jsonl", ['{"prediction": 1}', line])
    document = score(outputs, written(tmp_path / "r.csv", ["1", "2"]), tmp_path / "s", task="regression")
    assert document["metrics"]["mae"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 1}
    assert document["counts"]["errors"] == 1


def test_a_live_metric_of_400_digits_is_no_number_to_draw() -> None:
    assert plain_metrics({"metrics": {"a": {"value": HUGE}, "b": 0.5, "c": float("inf")}}) == {"b": 0.5}
