"""Metrics of regression, binary and multiclass models (scikit-learn), with 95 % bootstrap intervals.

https://scikit-learn.org/stable/modules/model_evaluation.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import config_context
from sklearn import metrics as sk

from inference.scoring.metrics import Confusion, Estimate, mean_estimates
from promotion.errors import Invalid

Floats = npt.NDArray[np.float64]

REGRESSION, BINARY, MULTICLASS = "regression", "binary-classification", "multiclass-classification"
RANKING = "ranking"
TASKS = (REGRESSION, BINARY, MULTICLASS, RANKING)
RESAMPLES = 200
CELL_RESAMPLES = 1_000
# With more rows than this, resamples have fewer rows and their spread is scaled (m out of n bootstrap).
MOST_RESAMPLED = 20_000
CALIBRATION_BINS = 10
# Probabilities are clipped by this, because log loss of a certain and wrong answer would be infinite.
_SMALLEST_PROBABILITY = 1e-15
# The least denominator of a relative error, as in scikit-learn.
_SMALLEST_DIVISOR = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Judged:
    """Metrics of a table of answers, and the values for pictures and slices."""

    task: str
    estimates: dict[str, Estimate]
    confusion: Confusion | None = None
    # For pictures, shape (n,) each: truth and answer of a regression, label and score of a binary model.
    truth: Floats = field(default_factory=lambda: np.empty(0))
    answer: Floats = field(default_factory=lambda: np.empty(0))
    # For slices, values of each row by metric, shape (n,); for rankings of each query, shape (queries,), NaN if it has
    # none.
    by_row: dict[str, Floats] = field(default_factory=dict)
    # For rankings, the number of each row's query from 0, shape (n,).
    query_of_row: npt.NDArray[np.int64] | None = None


def task_of(truth: Sequence[Any], numeric: bool) -> str:
    """Return the references' task: binary for up to two values, multiclass for words or few integers, else regression.

    Args:
        truth: the references.
        numeric: whether each of them is a number.
    """
    values = set(truth)
    if len(values) <= 2:
        return BINARY
    if not numeric:
        return MULTICLASS
    whole = all(float(value).is_integer() for value in values)
    return MULTICLASS if whole and len(values) <= 50 and len(truth) >= 4 * len(values) else REGRESSION


def regression(truth: Floats, answer: Floats) -> Judged:
    """Return RMSE, MAE, R² and MAPE.

    Args:
        truth: the true values, shape (n,).
        answer: the predicted values, shape (n,).

    Raises:
        Invalid: there is no row.
    """
    _require_rows(truth)
    error = answer - truth
    rows = {"mae": np.abs(error), "mse": error**2}
    if np.abs(truth).min() > _SMALLEST_DIVISOR:
        rows["mape"] = np.abs(error / truth)
    means = dict(zip(rows, mean_estimates(np.stack(list(rows.values()), axis=1)), strict=True))
    squared = means.pop("mse")
    # The square root is monotonic, so the interval's ends are the roots of the MSE's ends.
    rmse = float(sk.root_mean_squared_error(truth, answer))
    estimates = {"rmse": Estimate(rmse, float(np.sqrt(squared.low)), float(np.sqrt(squared.high)), len(truth)), **means}
    if len(truth) > 1 and truth.std() > 0:
        estimates |= _resampled({"r2": lambda t, a: float(sk.r2_score(t, a))}, truth, answer)
    return Judged(REGRESSION, estimates, None, truth, answer, {"mae": rows["mae"], "bias": error})


def binary(truth: npt.NDArray[np.bool_], score: Floats, *, threshold: float = 0.5) -> Judged:
    """Return AUC, PR-AUC, log loss, Brier score, calibration error, and threshold metrics (F1 and others).

    Args:
        truth: True for positive records, shape (n,).
        score: the probability of being positive, or any score that grows with it, shape (n,). Metrics of
            probabilities are left out if a score is outside of 0 to 1.
        threshold: the least score that counts as positive.

    Raises:
        Invalid: there is no row.
    """
    _require_rows(score)
    label, decided = truth.astype(np.float64), score >= threshold
    estimates: dict[str, Estimate] = {}
    both = 0 < truth.sum() < len(truth)
    if both:
        ranked = {
            "auc": lambda t, a: float(sk.roc_auc_score(t, a)),
            "pr_auc": lambda t, a: float(sk.average_precision_score(t, a)),
        }
        estimates |= _resampled(ranked, label, score)
    if np.all((score >= 0) & (score <= 1)):
        clipped = np.clip(score, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
        rows = {
            "log_loss": -np.where(truth, np.log(clipped), np.log1p(-clipped)),
            "brier": (score - label) ** 2,
        }
        estimates |= dict(zip(rows, mean_estimates(np.stack(list(rows.values()), axis=1)), strict=True))
        estimates |= _resampled({"calibration_error": calibration_error}, label, score, never_negative=True)
    estimates |= _at_threshold(truth, decided)
    pairs = {(str(t), str(d)): int(((truth == t) & (decided == d)).sum()) for t in (0, 1) for d in (0, 1)}
    by_row = {"accuracy": (decided == truth).astype(np.float64), "positive_rate": decided.astype(np.float64)}
    return Judged(BINARY, estimates, Confusion.counted(pairs), label, score, by_row)


def multiclass(truth: Sequence[str], answer: Sequence[str]) -> Judged:
    """Return accuracy and macro F1.

    Args:
        truth: Names of the true classes.
        answer: Names of the answered classes, of equal length.
    """
    confusion = Confusion.of(zip(truth, answer, strict=True))
    right = np.array([one == other for one, other in zip(truth, answer, strict=True)], dtype=np.float64)
    return Judged(MULTICLASS, confusion.estimates(), confusion, by_row={"accuracy": right})


def calibration_error(label: Floats, probability: Floats) -> float:
    """Return the expected calibration error over bins of equal width, weighted by size.

    Guo et al., "On Calibration of Modern Neural Networks" (2017), expected calibration error.
    """
    places = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts = np.bincount(places, minlength=CALIBRATION_BINS)
    said = np.bincount(places, probability, CALIBRATION_BINS)
    was = np.bincount(places, label, CALIBRATION_BINS)
    filled = counts > 0
    return float(np.abs(said[filled] - was[filled]).sum() / len(label))


def _at_threshold(truth: npt.NDArray[np.bool_], decided: npt.NDArray[np.bool_]) -> dict[str, Estimate]:
    """Return F1, precision, recall and accuracy; the bootstrap resamples the confusion matrix's cells."""
    values = {
        "f1": float(sk.f1_score(truth, decided, zero_division=0)),
        "precision": float(sk.precision_score(truth, decided, zero_division=0)),
        "recall": float(sk.recall_score(truth, decided, zero_division=0)),
        "accuracy": float(sk.accuracy_score(truth, decided)),
    }
    count = len(truth)
    cells = np.array(
        [(truth & decided).sum(), (~truth & decided).sum(), (truth & ~decided).sum(), (~truth & ~decided).sum()]
    )
    hit, false, missed, rest = np.random.default_rng(0).multinomial(count, cells / count, CELL_RESAMPLES).T
    drawn = {
        "f1": _ratio(2 * hit, 2 * hit + false + missed),
        "precision": _ratio(hit, hit + false),
        "recall": _ratio(hit, hit + missed),
        "accuracy": (hit + rest) / count,
    }
    found = {}
    for name, each in drawn.items():
        low, high = np.percentile(each, [2.5, 97.5])
        found[name] = Estimate(values[name], float(low), float(high), count)
    return found


def _ratio(above: npt.NDArray[np.int64], below: npt.NDArray[np.int64]) -> Floats:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)


def _require_rows(rows: Floats) -> None:
    if not len(rows):
        raise Invalid("references", "no record has both an answer and a reference.")


def _resampled(
    measures: Mapping[str, Callable[[Floats, Floats], float]],
    truth: Floats,
    answer: Floats,
    *,
    never_negative: bool = False,
) -> dict[str, Estimate]:
    """Return each measure of all rows, with its bootstrap interval.

    A measure that is never negative is biased upwards in resamples by their noise. Its interval is the resamples'
    spread around the value, and does not go below 0.
    """
    count = len(truth)
    size = min(count, MOST_RESAMPLED)
    random = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    # Checked once, not for each resample.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for _ in range(RESAMPLES):
            rows = random.integers(0, count, size)
            if truth[rows].min() == truth[rows].max():
                continue  # nothing to rank, and no variance to explain
            for name, measure in measures.items():
                drawn[name].append(measure(truth[rows], answer[rows]))
    scale = float(np.sqrt(size / count))
    found = {}
    for name, measure in measures.items():
        value = measure(truth, answer)
        low, high = np.percentile(drawn[name], [2.5, 97.5]) if drawn[name] else (value, value)
        middle = float(np.mean(drawn[name])) if drawn[name] and never_negative else value
        low, high = (float(value + (end - middle) * scale) for end in (low, high))
        found[name] = Estimate(value, max(low, 0.0) if never_negative else low, high, count)
    return found
