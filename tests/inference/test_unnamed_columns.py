"""SageMaker's baselines of CSV files without a header: `_c0`, `_c1` … are columns by position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.scoring.table_inputs import check_inputs

ROWS = 400
CHANCE = np.random.default_rng(11)
AMOUNTS, AGES = CHANCE.normal(100, 10, ROWS), CHANCE.integers(18, 90, ROWS)
KINDS = CHANCE.choice(["card", "cash"], ROWS)


def numeric(name: str, values: Any, kind: str = "Fractional") -> dict[str, Any]:
    """A column of numbers as Model Monitor's container writes it into statistics.json."""
    counts, edges = np.histogram(values, bins=10)
    buckets = [
        {"lower_bound": float(low), "upper_bound": float(high), "count": float(count)}
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    sketch = {"parameters": {"c": 0.64, "k": 2048.0}, "data": [[float(value) for value in values]]}
    return {
        "name": name,
        "inferred_type": kind,
        "numerical_statistics": {
            "common": {"num_present": len(values), "num_missing": 0},
            "mean": float(np.mean(values)),
            "sum": float(np.sum(values)),
            "std_dev": float(np.std(values)),
            "min": float(np.min(values)),
            "max": float(np.max(values)),
            "distribution": {"kll": {"buckets": buckets, "sketch": sketch}},
        },
    }


def text(name: str, values: Any) -> dict[str, Any]:
    known, counts = np.unique(values, return_counts=True)
    buckets = [{"value": str(value), "count": int(count)} for value, count in zip(known, counts, strict=True)]
    return {
        "name": name,
        "inferred_type": "String",
        "string_statistics": {
            "common": {"num_present": len(values), "num_missing": 0},
            "distinct_count": len(known),
            "distribution": {"categorical": {"buckets": buckets}},
        },
    }


def baseline(*columns: dict[str, Any]) -> dict[str, Any]:
    """statistics.json with its constraints.json, as they reach the score."""
    constraints: list[dict[str, Any]] = [
        {"name": each["name"], "inferred_type": each["inferred_type"], "completeness": 1.0} for each in columns
    ]
    for feature in constraints:
        if feature["inferred_type"] == "String":
            feature["string_constraints"] = {"domains": ["card", "cash"]}
        else:
            feature["num_constraints"] = {"is_non_negative": True}
    found = {
        "version": 0.0,
        "dataset": {"item_count": ROWS},
        "features": list(columns),
        "constraints": {
            "version": 0.0,
            "features": constraints,
            "monitoring_config": {
                "evaluate_constraints": "Enabled",
                "emit_metrics": "Enabled",
                "datatype_check_threshold": 1.0,
                "domain_content_threshold": 1.0,
                "distribution_constraints": {
                    "perform_comparison": "Enabled",
                    "comparison_threshold": 0.1,
                    "comparison_method": "Robust",
                },
            },
        },
    }
    returned: dict[str, Any] = json.loads(json.dumps(found))
    return returned


INPUTS = (numeric("_c0", AMOUNTS), text("_c1", KINDS), numeric("_c2", AGES, "Integral"))


def today(tmp_path: Path, header: str = "", shift: float = 0.0) -> Path:
    rows = [f"{a + shift:.4f},{k},{g}" for a, k, g in zip(AMOUNTS, KINDS, AGES, strict=True)]
    path = tmp_path / "today.csv"
    path.write_text("\n".join([header, *rows] if header else rows) + "\n", encoding="utf-8")
    return path


def test_columns_without_names_are_compared_by_position(tmp_path: Path) -> None:
    found = check_inputs(today(tmp_path, shift=30.0), baseline(*INPUTS), header=None)
    assert "drift_problem" not in found
    assert set(found["drift"]) == {"_c0", "_c1", "_c2"}
    assert found["drift"]["_c0"] > 0.25
    assert found["drift"]["_c1"] < 0.01
    assert found["drift"]["_c2"] < 0.01
    assert [(each["feature_name"], each["constraint_check_type"]) for each in found["violations"]] == [
        ("_c0", "baseline_drift_check")
    ]


def test_the_first_column_of_a_baseline_that_has_one_more_is_the_target(tmp_path: Path) -> None:
    columns = numeric("_c0", CHANCE.integers(0, 2, ROWS), "Integral"), numeric("_c1", AMOUNTS), text("_c2", KINDS)
    found = check_inputs(today(tmp_path), baseline(*columns, numeric("_c3", AGES, "Integral")), header=False)
    assert {name: value < 0.01 for name, value in found["drift"].items()} == {"_c1": True, "_c2": True, "_c3": True}
    assert "drift_problem" not in found
    assert found["violations"] == []


@pytest.mark.parametrize(
    ("header", "columns"),
    [("amount,kind,age", INPUTS), ("", (*INPUTS, numeric("_c3", AGES), numeric("_c4", AGES))), ("", INPUTS[:2])],
    ids=["named inputs", "two columns more", "one column less"],
)
def test_columns_that_have_no_certain_position_are_not_compared(
    tmp_path: Path, header: str, columns: tuple[dict[str, Any], ...]
) -> None:
    found = check_inputs(today(tmp_path, header), baseline(*columns), header=None)
    assert found["drift"] == {}
    assert found["drift_problem"].startswith("Drift was not measured: the input has no column of the baseline (_c")


@pytest.mark.parametrize("features", [None, "x", [3], [{}], [{"name": 7}]])
def test_a_baseline_of_another_form_is_no_error(tmp_path: Path, features: object) -> None:
    found = check_inputs(today(tmp_path), {"features": features}, header=None)
    assert found["drift"] == {}
