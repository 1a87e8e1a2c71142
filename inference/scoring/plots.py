"""Charts for mails, readable in black and white, each with a text alternative."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import ge, le
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from inference.records.counts import Latencies
from inference.scoring.metrics import Confusion, Estimate

# Dark enough on white, and distinguishable for people with red-green blindness; each also has its own shape.
THIS, LIVE, GATE, INK, PALE = "#1f5fa8", "#6b7280", "#b3261e", "#1f2937", "#e5e7eb"
_TITLES = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "exact_match": "Exact match",
    "chrf": "chrF / 100",
    "bleu": "BLEU / 100",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "auc": "AUC",
    "pr_auc": "PR-AUC",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "r2": "R²",
    "brier": "Brier score",
    "calibration_error": "Calibration error",
    "map": "MAP",
    "mrr": "MRR",
}
_NDCG = "ndcg_at_"
# Metrics on a scale to 100, which are drawn on a scale to 1.
_PERCENT = frozenset({"chrf", "bleu"})
_MOST_CONFUSED = 20
# Twice a mail column's width in pixels, and small in inches, so that text of 10 points is legible at half the size on a
# phone.
WIDTH_INCHES, DPI = 5.2, 210


@dataclass(frozen=True, slots=True)
class Bound:
    """Bound that a gate sets for one metric."""

    metric: str
    low: float | None = None
    high: float | None = None


def bounds_of(gates: Sequence[Mapping[str, Any]]) -> list[Bound]:
    """Return the bounds in the context of a run; gates without a metric have none."""
    return [Bound(str(gate["metric"]), gate.get("min"), gate.get("max")) for gate in gates if gate.get("metric")]


@dataclass(frozen=True, slots=True)
class Compared:
    """A candidate and its measurements."""

    name: str
    estimate: Estimate


def title_of(metric: str) -> str:
    """Name of a metric in pictures: `NDCG@10` for `ndcg_at_10`."""
    return f"NDCG@{metric.removeprefix(_NDCG)}" if metric.startswith(_NDCG) else _TITLES.get(metric, metric)


def draw_metrics(
    path: Path, title: str, metrics: Mapping[str, Estimate], gates: Sequence[Bound], live: Mapping[str, float]
) -> str:
    """Draw each metric with its interval, its gates and the live value; return the text alternative."""
    names = [name for name in metrics if name.startswith(_NDCG)] + [name for name in _TITLES if name in metrics]
    figure = Figure(figsize=(WIDTH_INCHES, 1.2 + 0.46 * max(1, len(names))), dpi=DPI)
    axes = figure.add_subplot()
    said = []
    for row, name in enumerate(names):
        scale = 100 if name in _PERCENT else 1
        one = metrics[name]
        value, low, high = one.value / scale, one.low / scale, one.high / scale
        axes.plot([low, high], [row, row], color=THIS, linewidth=3, solid_capstyle="butt", alpha=0.45, zorder=3)
        axes.plot(value, row, "o", color=THIS, markersize=9, zorder=4, label="this version, 95 % interval")
        said.append(
            f"{title_of(name).removesuffix(' / 100')} {one.value:.3g} (95 % interval {one.low:.3g} to {one.high:.3g})"
        )
        if name in live:
            axes.plot(
                live[name] / scale,
                row,
                "D",
                markerfacecolor="white",
                markeredgecolor=LIVE,
                markersize=7,
                markeredgewidth=1.8,
                zorder=3.5,
                label="live version",
            )
            said[-1] += f", live {live[name]:.3g}"
        verdicts = [word for gate in gates if gate.metric == name for word in _draw_bound(axes, gate, row, scale)]
        for low_bound, bound, kept in verdicts:
            word = "at least" if low_bound else "at most"
            said[-1] += f", gate {word} {bound:g}: {'passed' if kept(one.value) else 'failed'}"
        failed = any(not kept(one.value) for _, _, kept in verdicts)
        number = f"{one.value:.3f}" if scale == 1 else f"{one.value:.1f}"
        verdict = ("\ngate failed" if failed else "\ngate passed") if verdicts else ""
        # In their own column, so that no dot or gate covers them.
        axes.text(1.04, row, number + verdict, va="center", fontsize=10, linespacing=1.1, color=GATE if failed else INK)
    axes.set_yticks(range(len(names)), [title_of(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.75)
    axes.set_xlim(-0.02, 1.02)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    _style_rows(axes)
    handles, labels = axes.get_legend_handles_labels()
    first = dict(zip(reversed(labels), reversed(handles), strict=True))
    if first:
        figure.legend(first.values(), first.keys(), loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    else:
        axes.text(0.5, 0.5, "no metric could be computed", transform=axes.transAxes, ha="center")
    save(figure, path)
    return f"{title}: {'; '.join(said) or 'no metric could be computed'}."


def draw_latency(path: Path, latencies: Latencies) -> str:
    """Draw the latency distribution with its three percentiles; return the text alternative."""
    marks = {percent: latencies.percentile_ms(percent) for percent in (50, 95, 99)}
    total = sum(latencies.bins.values())
    figure = Figure(figsize=(WIDTH_INCHES, 2.4), dpi=DPI)
    axes = figure.add_subplot()
    places = sorted(latencies.bins)
    # Each bar has five of the counting bins, so that it is 10 % wide and visible.
    bars: dict[int, int] = {}
    for place in places:
        bars[place // 5] = bars.get(place // 5, 0) + latencies.bins[place]
    left = [Latencies.milliseconds(bar * 5) for bar in bars]
    width = [Latencies.milliseconds(bar * 5 + 5) - Latencies.milliseconds(bar * 5) for bar in bars]
    axes.bar(left, list(bars.values()), width=width, align="edge", color=THIS, edgecolor="white", linewidth=0.5)
    axes.set_xscale("log")
    axes.set_ylim(0, max(bars.values(), default=1) * 1.45)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for (percent, value), height in zip(marks.items(), (0.98, 0.86, 0.74), strict=True):
        axes.axvline(value, color=GATE, linewidth=1.2, linestyle="--")
        axes.annotate(
            f" p{percent}: {value:.3g} ms",
            (value, height),
            xycoords=("data", "axes fraction"),
            fontsize=10,
            color=GATE,
            va="top",
            # Otherwise the next percentile's line would cross the text.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            zorder=6,
        )
    # Space for the last percentile's text.
    low, high = axes.get_xlim()
    axes.set_xlim(low, max(high, marks[99] * (high / low) ** 0.28))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("milliseconds a record (log scale)", fontsize=10)
    axes.set_ylabel("records", fontsize=10)
    axes.set_title(f"Latency of {total:,} records", loc="left", fontsize=11, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    save(figure, path)
    within = ", ".join(f"{percent} % within {value:.3g} ms" for percent, value in marks.items())
    return f"Latency of {total:,} records: {within}."


def draw_confusion(path: Path, confusion: Confusion) -> str:
    """Draw the confusion matrix of the most frequent labels; return the text alternative."""
    order = confusion.counts.sum(axis=1).argsort()[::-1][:_MOST_CONFUSED]
    counts = confusion.counts[order][:, order]
    labels = [confusion.labels[place] for place in order]
    size = 2.6 + 0.42 * len(labels)
    figure = Figure(figsize=(size + 1.2, size), dpi=130)
    axes = figure.add_subplot()
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(labels)):
        for column in range(len(labels)):
            if counts[row, column]:
                ink = "white" if shares[row, column] > 0.55 else INK
                axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_xlabel("answered", fontsize=9)
    axes.set_ylabel("reference", fontsize=9)
    axes.set_title("What was taken for what", loc="left", fontsize=11, color=INK)
    save(figure, path)
    wrong = [
        (int(counts[row, column]), labels[row], labels[column])
        for row in range(len(labels))
        for column in range(len(labels))
        if row != column and counts[row, column]
    ]
    worst = "; ".join(
        f"{times} of {reference} as {answer}" for times, reference, answer in sorted(wrong, reverse=True)[:3]
    )
    return f"Confusion of {len(labels)} labels. Most often mistaken: {worst or 'none'}."


def draw_comparison(path: Path, metric: str, rows: Sequence[Compared]) -> str:
    """Draw each candidate with its 95 % interval, in the given order, best first; return the text alternative."""
    title = title_of(metric).removesuffix(" / 100")
    figure = Figure(figsize=(8, 1.3 + 0.5 * len(rows)), dpi=130)
    axes = figure.add_subplot()
    most = 100 if metric in _PERCENT else 1
    for place, row in enumerate(rows):
        one = row.estimate
        # Distinguishable without colour: the best one is filled, and first.
        colour = THIS if place == 0 else LIVE
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=3, solid_capstyle="butt", alpha=0.45)
        axes.plot(one.value, place, "o", markersize=9, color=colour, markerfacecolor=colour if place == 0 else "white")
        axes.text(1.04 * most, place, f"{one.value:.3f}", va="center", fontsize=10, color=INK)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-0.02 * most, 1.02 * most)
    axes.set_title(
        f"{title} by prompt, 95 % intervals, {rows[0].estimate.n:,} records", loc="left", fontsize=11, color=INK
    )
    _style_rows(axes)
    save(figure, path)
    said = "; ".join(
        f"{row.name} {row.estimate.value:.3g} (95 % interval {row.estimate.low:.3g} to {row.estimate.high:.3g})"
        for row in rows
    )
    return f"{title} by prompt, best first: {said}."


def _style_rows(axes: Any) -> None:
    """Leave only the bottom line and light vertical ones, for a chart with a row for each value."""
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_bound(axes: Any, gate: Bound, row: int, scale: int) -> list[tuple[bool, float, Callable[[float], bool]]]:
    """Draw the values at which a gate fails; return each bound, whether it is a lower one, and its test."""
    found: list[tuple[bool, float, Callable[[float], bool]]] = []
    if gate.low is not None:
        found.append((True, gate.low, partial(le, gate.low)))
    if gate.high is not None:
        found.append((False, gate.high, partial(ge, gate.high)))
    for is_low, bound, _ in found:
        place = bound / scale
        axes.plot([place, place], [row - 0.3, row + 0.3], color=GATE, linewidth=2.2, zorder=5, label="gate")
        failing = (0, place) if is_low else (place, 1)
        axes.fill_between(failing, row - 0.3, row + 0.3, color=GATE, alpha=0.08, linewidth=0, zorder=1)
    return found


def save(figure: Figure, path: Path) -> None:
    """Write a picture; the same numbers give the same file."""
    # A margin in inches, because on a dark background the white ends at the picture's edge.
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    # Without date and version, so that the same numbers give the same file.
    figure.savefig(path, metadata={"Software": None})
