"""Charts of tabular models (ROC, calibration, residuals, queries) with text alternatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from inference.scoring.plots import DPI, GATE, INK, LIVE, PALE, THIS, WIDTH_INCHES, save, title_of

Floats = npt.NDArray[np.float64]
# More points than this don't change the scatter plot.
MOST_POINTS = 2_000


def draw_roc(path: Path, label: Floats, score: Floats, threshold: float) -> str:
    """Draw the receiver operating characteristic with the threshold; return the text alternative."""
    false, true, _ = sk.roc_curve(label, score)
    area = float(sk.auc(false, true))
    decided = score >= threshold
    at = (float(decided[label == 0].mean()), float(decided[label == 1].mean()))
    figure, axes = _square(f"ROC, area {area:.3f}")
    axes.plot([0, 1], [0, 1], color=LIVE, linewidth=1, linestyle=":", label="chance")
    axes.plot(false, true, color=THIS, linewidth=2, label="this version")
    axes.plot(*at, "o", color=GATE, markersize=8, label=f"threshold {threshold:g}")
    axes.set_xlabel("false positive rate", fontsize=10)
    axes.set_ylabel("true positive rate", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    save(figure, path)
    return (
        f"ROC of {len(label):,} records: area {area:.3f}. At the threshold {threshold:g} it finds {at[1]:.1%} of the positives "
        f"and takes {at[0]:.1%} of the others for one."
    )


def draw_calibration(path: Path, label: Floats, probability: Floats) -> str:
    """Draw the calibration curve; return the text alternative."""
    was, said = calibration_curve(label, probability, n_bins=10)
    figure, axes = _square("Calibration")
    axes.plot([0, 1], [0, 1], color=LIVE, linewidth=1, linestyle=":", label="perfect")
    axes.plot(said, was, "o-", color=THIS, linewidth=2, markersize=6, label="this version")
    axes.set_xlabel("mean predicted probability", fontsize=10)
    axes.set_ylabel("share of positives", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    save(figure, path)
    worst = int(np.argmax(np.abs(was - said)))
    return f"Calibration: furthest off where {said[worst]:.0%} is predicted and {was[worst]:.0%} are positive."


def draw_residuals(path: Path, truth: Floats, answer: Floats) -> str:
    """Draw the residuals (answer minus reference) by reference; return the text alternative."""
    error = answer - truth
    places = np.random.default_rng(0).permutation(len(truth))[:MOST_POINTS]
    figure = Figure(figsize=(WIDTH_INCHES, 3.0), dpi=DPI)
    axes = figure.add_subplot()
    axes.axhline(0, color=LIVE, linewidth=1)
    axes.plot(truth[places], error[places], ".", color=THIS, markersize=4, alpha=0.5)
    low, high = np.percentile(error, [5, 95])
    for value in (low, high):
        axes.axhline(value, color=GATE, linewidth=1, linestyle="--")
    axes.set_xlabel("reference", fontsize=10)
    axes.set_ylabel("answer minus reference", fontsize=10)
    axes.set_title(
        f"Residuals of {len(truth):,} records; 90 % lie between the lines", loc="left", fontsize=11, color=INK
    )
    axes.grid(color=PALE)
    axes.set_axisbelow(True)
    save(figure, path)
    return f"Residuals of {len(truth):,} records: mean {error.mean():.3g}, 90 % between {low:.3g} and {high:.3g}."


def draw_queries(path: Path, metric: str, by_query: Floats) -> str:
    """Draw a histogram of a metric over the queries that have a value; return the text alternative."""
    values = by_query[np.isfinite(by_query)]
    figure = Figure(figsize=(WIDTH_INCHES, 3.0), dpi=DPI)
    axes = figure.add_subplot()
    axes.hist(values, bins=20, range=(0, 1), color=THIS)
    axes.axvline(float(values.mean()), color=GATE, linewidth=1, linestyle="--")
    axes.set_xlabel(f"{title_of(metric)} of a query", fontsize=10)
    axes.set_ylabel("queries", fontsize=10)
    axes.set_title(f"{title_of(metric)} by query; the line is the mean", loc="left", fontsize=11, color=INK)
    axes.grid(color=PALE)
    axes.set_axisbelow(True)
    save(figure, path)
    low, middle, high = np.percentile(values, [10, 50, 90])
    return (
        f"{title_of(metric)} of {len(values):,} queries: mean {values.mean():.3g}, a tenth at most {low:.3g}, half at most "
        f"{middle:.3g}, a tenth at least {high:.3g}."
    )


def _square(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH_INCHES * 0.8, WIDTH_INCHES * 0.75), dpi=DPI)
    axes = figure.add_subplot()
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.grid(color=PALE)
    axes.set_axisbelow(True)
    return figure, axes
