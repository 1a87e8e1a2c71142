"""Drift of columns against a baseline: PSI and, for numbers, the Kolmogorov-Smirnov distance.

The baseline is a profile of ours or SageMaker's statistics.json:
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-statistics.html
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.scoring.drift import stability_index
from inference.scoring.tables import Table
from promotion.errors import Invalid

Floats = npt.NDArray[np.float64]

BINS = 10
QUANTILES = 101
# A text column with more distinct values than this has identifiers rather than categories.
MOST_CATEGORIES = 50


def profile_table(table: Table) -> dict[str, Any]:
    """Make a baseline: bins and quantiles of numbers, shares of categories, without identifiers."""
    columns: dict[str, Any] = {}
    for name in table.names:
        found = _profile_numbers(table.numbers(name)) if table.is_numeric(name) else _profile_texts(table.texts(name))
        if found is not None:
            columns[name] = found
    return {"schema": 1, "rows": table.rows, "columns": columns}


def table_drift(baseline: Mapping[str, Any], table: Table) -> tuple[dict[str, float], dict[str, float]]:
    """Return PSI and Kolmogorov-Smirnov distance of each column in the baseline.

    Args:
        baseline: a profile of `profile_table`, or the content of SageMaker's statistics.json.
        table: the current input.

    Returns:
        Index by column, and distance by column of numbers, from 0 to 1.

    Raises:
        Invalid: the baseline is neither of them, or a column of it has another form.
    """
    stability: dict[str, float] = {}
    distance: dict[str, float] = {}
    for name, expected in baseline_columns(baseline).items():
        if name not in table.columns:
            continue
        try:
            index, apart = _compared(expected, table, name)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            raise Invalid("baseline", f"the column {name[:40]} has another form than a profile of columns.") from None
        if index is not None:
            stability[name] = round(index, 6)
        if apart is not None:
            distance[name] = round(apart, 6)
    return stability, distance


def baseline_columns(baseline: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a baseline that have a distribution, by name.

    Raises:
        Invalid: the baseline is neither a profile nor SageMaker's statistics.json.
    """
    if isinstance(baseline.get("columns"), Mapping):
        return dict(baseline["columns"])
    if isinstance(baseline.get("features"), list):
        with suppress(ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            return {name: column for name, column in map(_feature, baseline["features"]) if column}
    raise Invalid("baseline", "is neither a profile of columns nor SageMaker's statistics.json.")


def _compared(expected: Mapping[str, Any], table: Table, name: str) -> tuple[float | None, float | None]:
    """Return index and distance of a column; None for a column of numbers without any, and for categories' distance.

    Raises:
        ValueError: the baseline's values are no numbers, or its lists have different lengths.
    """
    if expected["kind"] == "numeric":
        values = table.numbers(name)
        values = values[np.isfinite(values)]
        if not len(values):
            return None, None
        index = stability_index(expected["shares"], _counts(values, expected["edges"]))
        quantiles = np.asarray(expected.get("quantiles", ()), dtype=np.float64)
        apart = _distance(quantiles, values) if len(quantiles) > 1 else None
    else:
        index, apart = stability_index(expected["shares"], _counted(table.texts(name), expected["values"])), None
    if not math.isfinite(index) or not math.isfinite(apart or 0.0):
        raise ValueError(name)
    return index, apart


def _feature(feature: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Read a column of SageMaker's statistics.json."""
    name = str(feature.get("name", ""))
    buckets = _at(feature, "numerical_statistics", "distribution", "kll", "buckets")
    if buckets:
        counts = [float(bucket["count"]) for bucket in buckets]
        edges = [float(bucket["upper_bound"]) for bucket in buckets[:-1]]
        bounds = [float(buckets[0]["lower_bound"]), *edges, float(buckets[-1]["upper_bound"])]
        return name, {
            "kind": "numeric",
            "edges": edges,
            "shares": _shares(counts),
            "quantiles": _quantiles_of(bounds, counts),
        }
    categories = _at(feature, "string_statistics", "distribution", "categorical", "buckets")
    if categories:
        counts = [float(bucket["count"]) for bucket in categories]
        return name, {
            "kind": "categorical",
            "values": [str(bucket["value"]) for bucket in categories],
            "shares": _shares([*counts, 0.0]),
        }
    return name, None


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _profile_numbers(values: Floats) -> dict[str, Any] | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return {
        "kind": "numeric",
        "edges": edges.tolist(),
        "shares": _shares(_counts(values, edges)),
        "quantiles": np.quantile(values, np.linspace(0, 1, QUANTILES)).tolist(),
    }


def _profile_texts(values: Collection[str]) -> dict[str, Any] | None:
    counts = Counter(values)
    if not 1 <= len(counts) <= MOST_CATEGORIES:
        return None
    common = [value for value, _ in counts.most_common()]
    return {"kind": "categorical", "values": common, "shares": _shares(_counted(values, common))}


def _counts(values: Floats, edges: Sequence[float] | Floats) -> list[float]:
    """Count the values in each bin; an edge belongs to the bin below it."""
    places = np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="left")
    return [float(count) for count in np.bincount(places, minlength=len(edges) + 1)]


def _counted(values: Collection[str], known: Sequence[str]) -> list[float]:
    """Count each known category, and all others together."""
    counts = Counter(values)
    found = [float(counts[value]) for value in known]
    return [*found, float(len(values) - sum(found))]


def _quantiles_of(bounds: Sequence[float], counts: Sequence[float]) -> list[float]:
    """Return the quantiles of a histogram, its values spread evenly within each bin."""
    total = sum(counts) or 1.0
    cumulative = np.concatenate([[0.0], np.cumsum(counts) / total])
    found: list[float] = np.interp(np.linspace(0, 1, QUANTILES), cumulative, bounds).tolist()
    return found


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) or 1.0
    return [count / total for count in counts]


def _distance(quantiles: Floats, values: Floats) -> float:
    """Return the Kolmogorov-Smirnov distance; the baseline's distribution is given by its quantiles."""
    values = np.sort(values)
    # Equal quantiles are a step of the distribution: the cumulative share is that of the last one.
    points, last = np.unique(quantiles[::-1], return_index=True)
    shares = (len(quantiles) - 1 - last) / (len(quantiles) - 1)
    expected = np.interp(values, points, shares, left=0.0, right=1.0)
    above = np.arange(1, len(values) + 1) / len(values) - expected
    below = expected - np.arange(len(values)) / len(values)
    return float(max(above.max(), below.max(), 0.0))
