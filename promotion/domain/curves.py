"""Confusion matrix and ROC curve of a classifier, read from metrics documents, small enough for a ledger item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct

from promotion.formatting import one_line

MOST_CLASSES = 10
MOST_POINTS = 60
LONGEST_LABEL = 40
# Up to this, a float counts exactly.
LARGEST_COUNT = 1 << 53
_ROC = "receiver_operating_characteristic_curve"


class Confusion(Struct, frozen=True, kw_only=True):
    """Counts by class: `counts[i][j]` records of class `labels[i]` were predicted as `labels[j]`; `left_out`: rarer classes."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    left_out: int = 0


def read_confusion(document: Mapping[str, object]) -> Confusion | None:
    """Read a confusion matrix: SageMaker's (`confusion_matrix`, by true and then by given class) or this service's own.

    SageMaker: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html
    """
    found = _part(document, "confusion_matrix")
    if isinstance(found, Mapping):
        inner = [name for row in found.values() if isinstance(row, Mapping) for name in row]
        labels = list(dict.fromkeys([*map(str, found), *map(str, inner)]))
        places = {label: place for place, label in enumerate(labels)}
        rows = {str(name): row for name, row in found.items()}
        return _confusion(labels, [_cells(rows.get(label), places) for label in labels])
    own = document.get("confusion")
    if not isinstance(own, Mapping):
        return None
    given, counts = _list(own.get("labels")), [_list(row) for row in _list(own.get("counts"))]
    if len(counts) != len(given) or any(len(row) != len(given) for row in counts):
        return None
    return _confusion([str(label) for label in given], [dict(enumerate(map(_count, row))) for row in counts])


def read_roc(document: Mapping[str, object]) -> tuple[tuple[float, float], ...]:
    """Read an ROC curve as (false positive rate, true positive rate), thinned; empty if there is no readable one."""
    found = _part(document, _ROC)
    if not isinstance(found, Mapping):
        return ()
    false, true = _list(found.get("false_positive_rates")), _list(found.get("true_positive_rates"))
    if len(false) != len(true) or len(false) < 2:
        return ()
    points = list(zip(false, true, strict=True))
    if not all(_is_rate(rate) for point in points for rate in point):
        return ()
    points.sort()
    step = max(1, -(-len(points) // (MOST_POINTS - 1)))
    thinned = [*points[:-1:step], points[-1]]
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in thinned)


def area(points: Sequence[tuple[float, float]]) -> float:
    """Area below a curve, by trapezoids."""
    return sum((right[0] - left[0]) * (right[1] + left[1]) / 2 for left, right in pairwise(points))


def _part(document: Mapping[str, object], name: str) -> object:
    """Return a part of the document, at its top level or in one of its `*_metrics`."""
    if name in document:
        return document[name]
    groups = [part for key, part in document.items() if str(key).endswith("_metrics") and isinstance(part, Mapping)]
    return next((part[name] for part in groups if name in part), None)


def _confusion(labels: Sequence[str], counts: Sequence[Mapping[int, int | None]]) -> Confusion | None:
    """Return the matrix of the most frequent classes, in their order; None if a cell is not a count.

    `counts` has only the given cells of each row, by column: full rows for all classes could be the square of the file's size.
    """
    if len(labels) < 2 or any(cell is None for row in counts for cell in row.values()):
        return None
    sizes = [sum(cell or 0 for cell in row.values()) for row in counts]
    kept = sorted(sorted(range(len(labels)), key=lambda place: -sizes[place])[:MOST_CLASSES])
    return Confusion(
        labels=tuple(one_line(labels[place], LONGEST_LABEL) or "(empty)" for place in kept),
        counts=tuple(tuple(counts[row].get(column) or 0 for column in kept) for row in kept),
        left_out=len(labels) - len(kept),
    )


def _cells(row: object, places: Mapping[str, int]) -> dict[int, int | None]:
    """Return the cells of a row by column; an invalid cell if the row is invalid."""
    if row is None:
        return {}
    return {places[str(name)]: _count(cell) for name, cell in row.items()} if isinstance(row, Mapping) else {0: None}


def _count(value: object) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # Not by math.isfinite, which numbers beyond a float's range overflow.
    return int(value) if 0 <= value <= LARGEST_COUNT and value == int(value) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
