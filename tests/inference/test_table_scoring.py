"""Scores of models that answer with numbers and classes: files as people have them, metrics as scikit-learn has them."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn import metrics as sk

from inference.scoring.score import score
from inference.scoring.table_constraints import violations
from inference.scoring.table_drift import profile_table, table_drift
from inference.scoring.table_metrics import binary, calibration_error
from inference.scoring.table_score import TableOptions, is_tabular
from inference.scoring.tables import read_table
from promotion.errors import Invalid
from tests.inference.score_command import score_by_command

CHANCE = np.random.default_rng(7)
LABELS = CHANCE.integers(0, 2, 400)
SCORES = np.clip(0.5 * LABELS + CHANCE.uniform(0, 0.6, 400), 0, 1).round(4)
TARGETS = CHANCE.uniform(5, 50, 300).round(3)
ANSWERS = (TARGETS + CHANCE.normal(0, 2, 300)).round(3)


def written(path: Path, lines: Any) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def scored(tmp_path: Path, outputs: Any, references: Any, **options: Any) -> dict[str, Any]:
    names = {key: options.pop(key) for key in ("task", "reference_field", "inputs", "baseline") if key in options}
    return score(
        written(tmp_path / "o.csv.out", outputs), written(tmp_path / "r.csv", references), tmp_path / "score",
        table=TableOptions(**options), **names,
    )  # fmt: skip


def values(document: dict[str, Any]) -> dict[str, float]:
    return {name: metric["value"] for name, metric in document["metrics"].items()}


def test_a_binary_model_is_measured_as_scikit_learn_measures_it(tmp_path: Path) -> None:
    document = scored(tmp_path, SCORES, LABELS)
    found, decided = values(document), SCORES >= 0.5
    assert document["task"] == "binary-classification"
    assert found == pytest.approx(
        {
            "auc": sk.roc_auc_score(LABELS, SCORES),
            "pr_auc": sk.average_precision_score(LABELS, SCORES),
            "log_loss": sk.log_loss(LABELS, np.clip(SCORES, 1e-15, 1 - 1e-15)),
            "brier": sk.brier_score_loss(LABELS, SCORES),
            "calibration_error": calibration_error(LABELS.astype(float), SCORES),
            "f1": sk.f1_score(LABELS, decided),
            "precision": sk.precision_score(LABELS, decided),
            "recall": sk.recall_score(LABELS, decided),
            "accuracy": sk.accuracy_score(LABELS, decided),
        },
        abs=1e-6,
    )
    for metric in document["metrics"].values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert set(document["pictures"]) == {"metrics.png", "roc.png", "calibration.png", "confusion.png"}
    assert all((tmp_path / "score" / name).stat().st_size > 1_000 for name in document["pictures"])


def test_a_regression_is_measured_as_scikit_learn_measures_it(tmp_path: Path) -> None:
    document = scored(tmp_path, ANSWERS, TARGETS)
    assert document["task"] == "regression"
    assert values(document) == pytest.approx(
        {
            "rmse": sk.root_mean_squared_error(TARGETS, ANSWERS),
            "mae": sk.mean_absolute_error(TARGETS, ANSWERS),
            "r2": sk.r2_score(TARGETS, ANSWERS),
            "mape": sk.mean_absolute_percentage_error(TARGETS, ANSWERS),
        },
        abs=1e-6,
    )
    assert document["pictures"] == ["residuals.png"]
    assert "90 % between" in document["alternatives"]["residuals.png"]


def test_the_interval_of_an_error_is_about_its_standard_error(tmp_path: Path) -> None:
    metric = scored(tmp_path, ANSWERS, TARGETS)["metrics"]["mae"]
    expected = 1.96 * np.abs(ANSWERS - TARGETS).std(ddof=1) / np.sqrt(len(TARGETS))
    assert (metric["high"] - metric["low"]) / 2 == pytest.approx(expected, rel=0.2)


def test_classes_by_name_and_scores_by_class(tmp_path: Path) -> None:
    truth = ["cat", "dog", "cat", "eel", "dog", "cat"]
    answers = [json.dumps({"prediction": name}) for name in ("cat", "dog", "dog", "eel", "dog", "cat")]
    document = scored(tmp_path, answers, truth)
    assert document["task"] == "multiclass-classification"
    assert values(document)["accuracy"] == pytest.approx(5 / 6, abs=1e-6)
    rows = ["0.9,0.05,0.05", "0.1,0.8,0.1", "0.2,0.2,0.6"]
    document = scored(tmp_path, rows, [0, 1, 1], task="multiclass-classification")
    assert values(document)["accuracy"] == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize(
    "outputs",
    [
        ["0.9", "0.2", "0.7", "0.4"],
        ["[0.9]", "[0.2]", "[0.7]", "[0.4]"],
        ['{"score": 0.9}', '{"score": 0.2}', '{"score": 0.7}', '{"score": 0.4}'],
        ['{"predictions": [{"score": 0.9}, {"score": 0.2}, {"score": 0.7}, {"score": 0.4}]}'],
        ["\ufeff0.9", "", "0.2", "0.7", "0.4", ""],
        ["0.9\r", "0.2\r", "0.7\r", "0.4\r"],
        ["feature,prediction", "7,0.9", "7,0.2", "8,0.7", "8,0.4"],
        [
            '{"age": 7, "SageMakerOutput": 0.9}',
            '{"SageMakerOutput": 0.2}',
            '{"SageMakerOutput": [0.7]}',
            '{"SageMakerOutput": 0.4}',
        ],
    ],
    ids=["csv", "lists", "objects", "document", "blank lines and mark", "CRLF", "header", "joined"],
)
def test_answers_in_every_form_that_models_give(tmp_path: Path, outputs: list[str]) -> None:
    document = scored(tmp_path, outputs, ["1", "0", "1", "0"])
    assert values(document)["auc"] == 1.0
    assert document["counts"]["records"] == 4


@pytest.mark.parametrize(
    ("answer", "prediction"),
    [
        ('{"other": [9, 0, 0], "probabilities": [0.1, 0.8, 0.1]}', None),
        ('{"other": [0, 0, 9], "chances": [0.1, 0.8, 0.1]}', "chances"),
        ('{"label": 1, "probabilities": [0.1, 0.2, 0.7]}', "label"),
    ],
)
def test_class_scores_are_those_below_one_name_unless_a_class_is_named(
    tmp_path: Path, answer: str, prediction: str | None
) -> None:
    document = scored(tmp_path, [answer], [1], task="multiclass-classification", prediction=prediction)
    assert values(document)["accuracy"] == 1


def test_a_folder_without_answers_is_no_table(tmp_path: Path) -> None:
    assert not is_tabular(tmp_path, None)


def test_parquet_and_gzip_are_read_like_text(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"y": LABELS, "region": ["north", "south"] * 200}), tmp_path / "r.parquet")
    (tmp_path / "o.csv.gz").write_bytes(gzip.compress("".join(f"{each}\n" for each in SCORES).encode()))
    document = score(tmp_path / "o.csv.gz", tmp_path / "r.parquet", tmp_path / "score", task="binary-classification")
    assert values(document)["auc"] == pytest.approx(sk.roc_auc_score(LABELS, SCORES), abs=1e-6)
    assert document["slices"]["region"]["north"]["accuracy"]["n"] == 200


def test_lists_among_the_columns_of_parquet_are_no_trouble(tmp_path: Path) -> None:
    columns = {"y": LABELS, "tags": [["new"], ["old", "slow"]] * 200, "vector": [[1.0, 2.0]] * 400}
    pa.parquet.write_table(pa.table(columns), tmp_path / "r.parquet")
    document = score(written(tmp_path / "o.csv.out", SCORES), tmp_path / "r.parquet", tmp_path / "score")
    assert document["slices"]["tags"]["['new']"]["accuracy"]["n"] == 200


def test_rows_are_joined_by_id_in_any_order(tmp_path: Path) -> None:
    order = list(range(400))
    random.Random(1).shuffle(order)
    outputs = ["id,score", *(f"{place},{SCORES[place]}" for place in order)]
    document = scored(tmp_path, outputs, ["id,label", *(f"{place},{label}" for place, label in enumerate(LABELS))])
    assert values(document)["auc"] == pytest.approx(sk.roc_auc_score(LABELS, SCORES), abs=1e-6)


@pytest.mark.parametrize(
    ("outputs", "references", "options", "expected"),
    [
        (["0.1", "0.2"], ["1"], {}, "references.*1 rows and the outputs 2"),
        (["0.1,0.2", "0.3,0.4"], ["1", "0"], {}, "outputs.*has the columns 0, 1; name the one"),
        (["0.1", "0.2"], ["1", "0"], {"prediction": "price"}, "outputs.*has no column 'price'; there are 0"),
        (["0.1", "0.2"], ["good", "bad"], {}, "positive.*name the class that counts as positive; there are bad, good"),
        (["id,score", "1,0.1", "2,0.2"], ["id,label", "8,1", "9,0"], {}, "references.*share no value of the column id"),
    ],
)
def test_a_table_that_can_not_be_scored_is_reported_with_its_remedy(
    tmp_path: Path, outputs: list[str], references: list[str], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(Invalid, match=expected):
        scored(tmp_path, outputs, references, **options)


def test_a_row_without_an_answer_is_one_error(tmp_path: Path) -> None:
    document = scored(tmp_path, ["0.9", "NA", "0.2", "0.1"], ["1", "1", "0", "0"])
    assert document["counts"]["errors"] == 1
    assert document["metrics"]["auc"]["n"] == 3


def table(tmp_path: Path, name: str, shift: float, shares: tuple[float, float]) -> Path:
    chance = np.random.default_rng(3)
    kinds = chance.choice(["card", "cash"], 2_000, p=shares)
    amounts = chance.normal(100 + shift, 10, 2_000)
    return written(tmp_path / name, ["amount,kind", *(f"{a:.4f},{k}" for a, k in zip(amounts, kinds, strict=True))])


def test_drift_is_measured_column_by_column(tmp_path: Path) -> None:
    baseline = profile_table(read_table(table(tmp_path, "then.csv", 0, (0.5, 0.5))))
    same, _ = table_drift(baseline, read_table(table(tmp_path, "same.csv", 0, (0.5, 0.5))))
    stability, distance = table_drift(baseline, read_table(table(tmp_path, "now.csv", 15, (0.9, 0.1))))
    assert same["amount"] < 0.01
    assert stability["amount"] > 0.25
    assert stability["kind"] > 0.25
    # Two normals 1.5 deviations apart: 2 * phi(0.75) - 1.
    assert distance["amount"] == pytest.approx(0.5467, abs=0.04)


def test_statistics_of_sagemaker_are_a_baseline(tmp_path: Path) -> None:
    buckets = [{"lower_bound": 10.0 * k, "upper_bound": 10.0 * k + 10, "count": 100} for k in range(10)]
    statistics = {
        "version": 0,
        "features": [
            {"name": "amount", "inferred_type": "Fractional",
             "numerical_statistics": {"distribution": {"kll": {"buckets": buckets}}}},
            {"name": "kind", "inferred_type": "String",
             "string_statistics": {"distribution": {"categorical": {"buckets": [
                 {"value": "card", "count": 500}, {"value": "cash", "count": 500}]}}}},
        ],
    }  # fmt: skip
    stability, distance = table_drift(statistics, read_table(table(tmp_path, "now.csv", -50, (0.5, 0.5))))
    assert stability["amount"] > 1
    assert stability["kind"] < 0.01
    assert distance["amount"] > 0.2


CONSTRAINTS = {
    "version": 0,
    "features": [
        {"name": "amount", "inferred_type": "Fractional", "completeness": 1.0},
        {"name": "kind", "inferred_type": "String", "completeness": 1.0, "string_constraints": {"domains": ["card"]},
         "monitoringConfigOverrides": {"domain_content_threshold": 0.25}},
        {"name": "age", "inferred_type": "Integral", "completeness": 0.9},
        {"name": "gone", "inferred_type": "String"},
    ],
    "monitoring_config": {
        "evaluate_constraints": "Enabled", "datatype_check_threshold": 0.75, "domain_content_threshold": 1.0,
        "distribution_constraints": {"perform_comparison": "Enabled", "comparison_threshold": 0.2},
    },
}  # fmt: skip
TODAY = ["amount,kind,age,new", "1.5,card,7,x", "x,card,7.5,x", "3,cash,,x", "4,cheque,8.5,x"]


def violated(
    tmp_path: Path, lines: list[str], constraints: Any = CONSTRAINTS, **distance: float
) -> set[tuple[str, str]]:
    found = violations(constraints, read_table(written(tmp_path / "today.csv", lines)), distance)
    assert all(each["description"] for each in found)
    return {(each["feature_name"], each["constraint_check_type"]) for each in found}


def test_violations_have_the_names_of_model_monitor(tmp_path: Path) -> None:
    assert violated(tmp_path, TODAY, amount=0.3) == {
        ("amount", "baseline_drift_check"), ("age", "completeness_check"), ("age", "data_type_check"),
        ("gone", "missing_column_check"), ("new", "extra_column_check"),
    }  # fmt: skip


def test_thresholds_of_a_column_come_before_those_of_all(tmp_path: Path) -> None:
    plain = json.loads(json.dumps(CONSTRAINTS))
    del plain["features"][1]["monitoringConfigOverrides"]
    assert ("kind", "categorical_values_check") in violated(tmp_path, TODAY, plain)
    assert ("kind", "categorical_values_check") not in violated(tmp_path, TODAY)


def test_constraints_that_are_off_or_none_say_nothing(tmp_path: Path) -> None:
    off = {**CONSTRAINTS, "monitoring_config": {"evaluate_constraints": "Disabled"}}
    for constraints in (off, {}, {"features": "x"}, {"features": [7, {"name": "amount", "completeness": "all"}]}):
        found = violated(tmp_path, ["amount", "1", "2"], constraints)
        assert found == set()


def test_constraints_beside_the_statistics_reach_the_metrics_of_a_run(tmp_path: Path) -> None:
    buckets = [{"lower_bound": 10.0 * k, "upper_bound": 10.0 * k + 10, "count": 100} for k in range(10)]
    statistics = {
        "features": [{"name": "amount", "numerical_statistics": {"distribution": {"kll": {"buckets": buckets}}}}]
    }
    (tmp_path / "statistics.json").write_text(json.dumps(statistics))
    (tmp_path / "constraints.json").write_text(json.dumps(CONSTRAINTS))
    written(tmp_path / "today.csv", TODAY)
    written(tmp_path / "o.csv", ["0.9", "0.2", "0.7", "0.1"])
    document, _ = score_by_command(
        tmp_path, "--outputs", "o.csv", "--inputs", "today.csv", "--baseline", "statistics.json", "--task", "regression"
    )
    assert document["counts"]["constraint_violations"] == len(document["violations"]) == 5
    assert document["drift"]["amount"] > 0.25


def test_a_baseline_of_something_else_is_refused(tmp_path: Path) -> None:
    today = read_table(table(tmp_path, "now.csv", 0, (0.5, 0.5)))
    with pytest.raises(Invalid, match="neither a profile of columns nor"):
        table_drift({"length": {}}, today)
    for column in (3, {"kind": "numeric"}, {"kind": "numeric", "edges": [1], "shares": [1]}, NO_NUMBER):
        with pytest.raises(Invalid, match="the column amount has another form"):
            table_drift({"columns": {"amount": column}}, today)


NO_NUMBER = {"kind": "numeric", "edges": [1.0], "shares": [float("nan"), 0.5]}
OTHER = {"kind": "numeric", "edges": [], "shares": [1.0]}


@pytest.mark.parametrize(
    ("columns", "today", "problem"),
    [
        (
            {"other": OTHER},
            ["amount", "1", "2"],
            "Drift was not measured: the input has no column of the baseline (other).",
        ),
        ({"amount": {}}, ["amount", "1", "2"], "Drift was not measured: baseline: the column amount has another form"),
        (
            {"amount": OTHER, "other": OTHER, "more": OTHER},
            ["amount", "1", "2"],
            "Drift was not measured for columns that the input lacks: other, more.",
        ),
        ({"amount": OTHER}, ["PAR1"], "Drift was not measured: inputs: today.csv can't be read"),
    ],
)
def test_drift_that_can_not_be_measured_is_said_and_leaves_the_score(
    tmp_path: Path, columns: dict[str, Any], today: list[str], problem: str
) -> None:
    inputs = written(tmp_path / "today.csv", today)
    document = scored(tmp_path, ["0.9", "0.2"], ["1", "0"], inputs=inputs, baseline={"columns": columns})
    assert document["drift_problem"].startswith(problem)
    assert document["metrics"]["auc"]["value"] == 1
    assert set(document["drift"]) == ({"amount"} if len(columns) == 3 else set())


def test_drift_reaches_the_metrics_of_a_run(tmp_path: Path) -> None:
    baseline = profile_table(read_table(table(tmp_path, "then.csv", 0, (0.5, 0.5))))
    inputs = table(tmp_path, "now.csv", 15, (0.5, 0.5))
    document = scored(tmp_path, ["0.9", "0.2"], ["1", "0"], inputs=inputs, baseline=baseline)
    assert document["drift"]["amount"] > 0.25
    assert document["ks"]["amount"] > 0.4
    assert "drift_problem" not in document


def test_many_lines_take_little_memory(tmp_path: Path) -> None:
    """The peak of a process of its own, above what importing takes."""
    chance = np.random.default_rng(1)
    labels = chance.integers(0, 2, 20_000)
    written(tmp_path / "o.csv", (labels * 0.4 + chance.uniform(0, 0.6, 20_000)).round(5))
    written(tmp_path / "r.csv", labels)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from inference.scoring.score import score\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "score(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), task='binary-classification')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *(str(tmp_path / name) for name in ("o.csv", "r.csv", "score"))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) * 1024 < 250e6


def test_the_command_takes_columns_by_name(tmp_path: Path) -> None:
    written(tmp_path / "o.csv", ["key,price_hat", *(f"{k},{value}" for k, value in enumerate(ANSWERS))])
    written(tmp_path / "r.csv", ["key,price", *(f"{k},{value}" for k, value in enumerate(TARGETS))])
    fields = ("--prediction-field", "price_hat", "--reference-field", "price", "--id-field", "key")
    document, printed = score_by_command(
        tmp_path, "--outputs", "o.csv", "--references", "r.csv", "--task", "regression", *fields
    )
    assert "rmse" in printed
    assert document["metrics"]["rmse"]["n"] == 300


@pytest.mark.parametrize("count", [200, 30_000])
def test_the_interval_of_a_calibration_error_has_the_error_in_it(count: int) -> None:
    chance = np.random.default_rng(count)
    score = chance.uniform(0, 1, count)
    found = binary(chance.uniform(0, 1, count) < score, score).estimates["calibration_error"]
    assert 0 <= found.low <= found.value <= found.high
