"""Metrics of a table by the columns of its references."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from inference.scoring.joining import MOST_SLICES
from inference.scoring.table_metrics import Judged
from inference.scoring.tables import Table

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]
# Value and number of rows: by metric, then by a column's value, then by column.
Slice = dict[str, dict[str, float | int]]
Slices = dict[str, dict[str, Slice]]


def slices(judged: Judged, truth: Table, rows: Places, keys: Collection[str | None]) -> Slices:
    """Return each metric by each column of the references with few distinct values.

    Args:
        judged: the metrics of the joined rows.
        truth: the references.
        rows: the row of the references for each judged row, shape (n,).
        keys: columns that are no slices: the reference itself, ids, queries.
    """
    found: Slices = {}
    for name in truth.names:
        if not truth.named or name in keys:
            continue
        values = truth.texts(name)[rows]
        if judged.query_of_row is not None:
            values = _of_queries(values, judged.query_of_row)
        kinds = sorted(set(values) - {""})
        if 2 <= len(kinds) <= MOST_SLICES:
            found[name] = {kind: _slice(judged, values == kind) for kind in kinds}
    return found


def _slice(judged: Judged, mine: Mask) -> Slice:
    """Return means over some rows or queries, without those that have no value."""
    found: Slice = {}
    for metric, each in judged.by_row.items():
        values = each[mine & np.isfinite(each)]
        if len(values):
            found[metric] = {"value": round(float(values.mean()), 6), "n": len(values)}
    return found


def _of_queries(values: Texts, query_of_row: Places) -> Texts:
    """Return a column's value for each query; empty if any query has several values."""
    first = np.unique(query_of_row, return_index=True)[1]
    found: Texts = values[first]
    return found if np.array_equal(found[query_of_row], values) else found[:0]
