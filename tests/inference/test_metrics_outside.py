"""Every metric against an implementation that isn't ours, on random data with the edges that people's data has."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from rouge_score import rouge_scorer
from scipy import stats
from sklearn import metrics as sk

from inference.scoring.metrics import ROUGE, Confusion, corpus_estimates, text_scorer, text_scores
from inference.scoring.score import score
from inference.scoring.table_drift import profile_table, table_drift
from inference.scoring.table_metrics import binary, calibration_error, multiclass, regression
from inference.scoring.tables import read_table

SCORER = text_scorer()
# Words that match often, and what has none: nothing, spaces, marks, other scripts, breaks of lines and of sentences.
WORDS = some.sampled_from(
    ["the", "ship", "ships", "The", "tide", "7", "", " ", "!", "été", "船", "\n", ".", "a-b", "\u200b"]
)
TEXTS = some.lists(WORDS, max_size=12).map(" ".join)
CLASSES = some.sampled_from(["cat", "dog", "owl", "", " cat", "0", "1", "neither nor"])
EXAMPLES = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@EXAMPLES
@given(TEXTS, some.lists(TEXTS, min_size=1, max_size=4))
@example("", [""])
@example("", ["the ship"])
@example("the ship", ["", "the ship"])
@example("the\nship", ["ship\nthe", "船"])
def test_rouge_of_several_references_is_the_best_of_rouge_scores_own(said: str, right: list[str]) -> None:
    found = text_scores(SCORER, said, right)
    outside = rouge_scorer.RougeScorer(list(ROUGE))
    for name in ROUGE:
        assert found[name] == pytest.approx(max(outside.score(one, said)[name].fmeasure for one in right), abs=1e-12)
    assert found["exact_match"] == float(any(said.split() == one.split() for one in right))


@EXAMPLES
@given(some.lists(some.tuples(TEXTS, some.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=8))
@example([("", ["the ship"])])
@example([("the ship", ["the ship"])])
@example([("the ship", ["the ship", "the tide"]), ("tide", ["tide"])])
def test_bleu_and_chrf_are_sacrebleus_with_references_of_unequal_number(rows: list[tuple[str, list[str]]]) -> None:
    said, right = [row[0] for row in rows], [row[1] for row in rows]
    streams = [[row[k] if k < len(row) else None for row in right] for k in range(max(map(len, right)))]
    found = corpus_estimates(["chrf", "bleu"], said, right)
    alone = {"use_effective_order": True} if len(said) == 1 else {}
    wanted = {
        "chrf": sacrebleu.corpus_chrf(said, streams).score,
        "bleu": sacrebleu.corpus_bleu(said, streams, **alone).score,
    }
    for name, value in wanted.items():
        estimate, _ = found[name]
        assert estimate.value == pytest.approx(value, abs=1e-9)
        assert estimate.value <= 100
        assert 0 <= estimate.low <= estimate.high <= 100


@pytest.mark.filterwarnings("ignore:A single label was found")
@EXAMPLES
@given(some.lists(some.tuples(CLASSES, CLASSES), min_size=1, max_size=40))
@example([("cat", "cat")])
@example([("cat", "dog")])
@example([("cat", "cat"), ("dog", "owl")])
def test_classes_are_counted_as_scikit_learn_counts_them(rows: list[tuple[str, str]]) -> None:
    truth, answer = [row[0] for row in rows], [row[1] for row in rows]
    for found in (Confusion.of(rows).estimates(), multiclass(truth, answer).estimates):
        assert found["accuracy"].value == pytest.approx(sk.accuracy_score(truth, answer))
        assert found["macro_f1"].value == pytest.approx(sk.f1_score(truth, answer, average="macro", zero_division=0))
    confusion = Confusion.of(rows)
    assert confusion.counts.tolist() == sk.confusion_matrix(truth, answer, labels=list(confusion.labels)).tolist()
    assert list(confusion.labels) == sorted({*truth, *answer})


@EXAMPLES
@given(some.lists(some.tuples(CLASSES, some.lists(CLASSES, min_size=1, max_size=3)), min_size=1, max_size=20))
@example([("dog", ["cat", "dog"])])
@example([("owl", ["cat", "dog"])])
def test_of_several_right_classes_any_is_right(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[str]]]
) -> None:
    place = tmp_path_factory.mktemp("classes")
    said = [{"id": n, "labels": [label], "scores": [1.0]} for n, (label, _) in enumerate(rows)]
    right = [{"id": n, "category": references} for n, (_, references) in enumerate(rows)]
    found = score(_written(place / "o", said), _written(place / "r", right), place / "s")
    hits = [label in references for label, references in rows]
    # One of several labels for each record: scikit-learn's own of what then is the truth.
    truth = [label if hit else references[0] for hit, (label, references) in zip(hits, rows, strict=True)]
    answer = [label for label, _ in rows]
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(sum(hits) / len(hits), abs=1e-6)
    wanted = sk.f1_score(truth, answer, average="macro", zero_division=0)
    assert found["metrics"]["macro_f1"]["value"] == pytest.approx(wanted, abs=1e-6)


def _written(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


PROBABILITIES = some.sampled_from([0.0, 1e-300, 0.1, 0.25, 0.5, 0.5, 0.75, 0.9, 1 - 1e-16, 1.0])
PAIRS = some.lists(some.tuples(some.booleans(), PROBABILITIES), min_size=1, max_size=60)


@EXAMPLES
@given(PAIRS)
@example([(True, 1.0)])
@example([(False, 1.0), (True, 0.0)])
@example([(False, 0.5), (True, 0.5)])
def test_a_binary_model_is_measured_as_scipy_and_scikit_learn_do(rows: list[tuple[bool, float]]) -> None:
    truth, chance = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = {name: each.value for name, each in binary(truth, chance).estimates.items()}
    positives, others = chance[truth], chance[~truth]
    if len(positives) and len(others):
        # The area is the share of pairs in order; ties count half.
        u = stats.mannwhitneyu(positives, others, method="asymptotic").statistic
        assert found["auc"] == pytest.approx(u / (len(positives) * len(others)))
        precision, recall, _ = sk.precision_recall_curve(truth, chance)
        assert found["pr_auc"] == pytest.approx(float(np.sum(np.diff(recall[::-1]) * precision[::-1][1:])))
    else:
        assert "auc" not in found
    assert found["brier"] == pytest.approx(sk.brier_score_loss(truth, chance, pos_label=True))
    clipped = np.clip(chance, 1e-15, 1 - 1e-15)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, clipped, labels=[False, True]), rel=1e-6)
    decided = chance >= 0.5
    for name, outside in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
        assert found[name] == pytest.approx(outside(truth, decided, zero_division=0))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, decided))
    # scipy's bins, each edge to the right one as ours, the last one closed.
    means, _, places = stats.binned_statistic(chance, [chance, truth], "mean", bins=10, range=(0, 1))
    sizes = np.bincount(places, minlength=11)[1:11]
    filled = sizes > 0
    wanted = float(np.sum(sizes[filled] * np.abs(means[0, filled] - means[1, filled])) / len(rows))
    assert calibration_error(truth.astype(float), chance) == pytest.approx(wanted, abs=1e-12)


# Of six digits, as people's numbers are: squares of smaller ones are lost to both.
PLAIN = some.integers(-(10**9), 10**9).map(lambda number: number / 1_000)
NUMBERS = arrays.arrays(np.float64, some.integers(1, 40), elements=PLAIN)


@EXAMPLES
@given(NUMBERS, some.integers(0, 2**32 - 1))
@example(np.zeros(3), 0)
@example(np.array([2.3e-308, 2.3e-308]), 3)
@example(np.array([5.0]), 1)
def test_a_regression_is_measured_as_scikit_learn_does(truth: np.ndarray[Any, Any], seed: int) -> None:
    answer = truth + np.random.default_rng(seed).normal(0, 1 + np.abs(truth).max() / 10, len(truth))
    found = {name: each.value for name, each in regression(truth, answer).estimates.items()}
    assert found["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(truth, answer)))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, answer))
    assert ("mape" in found) is bool(np.abs(truth).min() > np.finfo(np.float64).eps)
    if "mape" in found:
        assert found["mape"] == pytest.approx(sk.mean_absolute_percentage_error(truth, answer))
    assert ("r2" in found) is bool(len(truth) > 1 and truth.std() > 0)
    if "r2" in found:
        assert found["r2"] == pytest.approx(sk.r2_score(truth, answer), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.3, 4.0])
def test_the_distance_of_a_column_is_scipys_two_sample_statistic(tmp_path: Path, shift: float) -> None:
    chance = np.random.default_rng(3)
    before, after = chance.normal(0, 1, 4_000), chance.normal(shift, 1.5, 1_500)
    for name, values in (("before.csv", before), ("after.csv", after)):
        (tmp_path / name).write_text("amount\n" + "".join(f"{value}\n" for value in values))
    baseline = profile_table(read_table(tmp_path / "before.csv"))
    _, distance = table_drift(baseline, read_table(tmp_path / "after.csv"))
    # A profile keeps quantiles, so that it is off by one of them at most.
    assert distance["amount"] == pytest.approx(stats.ks_2samp(before, after).statistic, abs=0.015)
