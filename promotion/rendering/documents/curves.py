"""ROC curves and confusion matrices of a request's evidence, as plain data and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

from markupsafe import Markup, escape

from promotion.domain.curves import Confusion, area
from promotion.domain.model import Evidence
from promotion.formatting import number, share
from promotion.rendering.documents.charts import line, rect, text

HEIGHT = 220
TOP, BOTTOM = 10, HEIGHT - 40
LEFT, RIGHT = 8.0, 98.0

Points = Sequence[Sequence[float]]


class CellDocument(TypedDict):
    """A cell of a confusion matrix; `share` is its share of all records of the true class."""

    count: int
    share: float
    right: bool


class ConfusionRow(TypedDict):
    """A true class of a confusion matrix, with the predictions for its records."""

    label: str
    cells: list[CellDocument]


class ConfusionDocument(TypedDict):
    """A confusion matrix by true class, without the `left_out` rarest classes."""

    labels: list[str]
    rows: list[ConfusionRow]
    left_out: int


class CurvesDocument(TypedDict):
    """Curves and confusion matrix of a classifier's evidence; `said` states where it was measured."""

    said: str
    roc: list[list[float]]
    roc_live: list[list[float]]
    area: float | None
    confusion: ConfusionDocument | None


def curve_documents(evidence: Evidence, registered: Evidence | None, live: Evidence | None) -> list[CurvesDocument]:
    """Build the curves of the judged evidence, and of the registered one if they differ."""
    where = "registered" if evidence.source == "registration" else f"measured in {evidence.environment}"
    found = [_curves(evidence, f"As {where}", live)]
    if registered is not None and evidence.source != "registration":
        found.append(_curves(registered, "As registered", None))
    return [each for each in found if each["roc"] or each["confusion"]]


def roc_plot(curves: CurvesDocument) -> Markup:
    """Draw the ROC curve, with the diagonal of a random classifier and the live version's curve."""
    at_tenth = max((y for x, y in curves["roc"] if x <= 0.1), default=0.0)
    finds = f"with 10% false positives or fewer it finds {share(at_tenth)} of the positives"
    said = f"ROC curve, area {number(curves['area'])}: {finds}"
    drawn = [
        line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"),
        line(LEFT, TOP, LEFT, BOTTOM, "axis"),
        line(LEFT, BOTTOM, RIGHT, TOP, "chance"),
        *_curve(curves["roc_live"], "curve live"),
        *_curve(curves["roc"], "curve"),
        text((LEFT + RIGHT) / 2, HEIGHT - 6, "false positive rate, 0 to 1"),
        text(LEFT / 2, BOTTOM, "0"),
        text(LEFT / 2, TOP + 8, "1"),
    ]
    return Markup('<svg class="plot" width="100%" height="{}" role="img" aria-label="{}">{}</svg>').format(
        HEIGHT, escape(said), Markup("").join(drawn)
    )


def share_bar(cell: CellDocument) -> Markup:
    """Draw the share of a cell as a bar, beside the number."""
    drawn = rect(0, 100, 2, 4, "track", radius=2) + rect(
        0, 100 * cell["share"], 2, 4, "bar open" if cell["right"] else "bar shut", radius=2
    )
    return Markup('<svg class="strip" width="100%" height="8" aria-hidden="true" focusable="false">{}</svg>').format(
        drawn
    )


def _curves(evidence: Evidence, said: str, live: Evidence | None) -> CurvesDocument:
    return {
        "said": said,
        "roc": [list(point) for point in evidence.roc],
        "roc_live": [list(point) for point in live.roc] if live is not None and evidence.roc else [],
        # The measured AUC if it is known, because the curve here has fewer points.
        "area": _measured_area(evidence) or area(evidence.roc) if evidence.roc else None,
        "confusion": _confusion(evidence.confusion) if evidence.confusion is not None else None,
    }


def _measured_area(evidence: Evidence) -> float | None:
    known = evidence.metrics.get("auc")
    return known.value if known is not None else None


def _confusion(found: Confusion) -> ConfusionDocument:
    rows: list[ConfusionRow] = []
    for place, (label, counts) in enumerate(zip(found.labels, found.counts, strict=True)):
        total = sum(counts) or 1
        cells: list[CellDocument] = [
            {"count": count, "share": count / total, "right": column == place} for column, count in enumerate(counts)
        ]
        rows.append({"label": label, "cells": cells})
    return {"labels": list(found.labels), "rows": rows, "left_out": found.left_out}


def _curve(points: Points, kind: str) -> list[Markup]:
    def x(rate: float) -> float:
        return LEFT + (RIGHT - LEFT) * rate

    def y(rate: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * rate

    return [line(x(a[0]), y(a[1]), x(b[0]), y(b[1]), kind) for a, b in pairwise(points)]
