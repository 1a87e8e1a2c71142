"""Metrics of rankings: NDCG@k, MAP and MRR by query, with 95 % intervals by resampling queries.

Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), for NDCG; the gain is linear, as in
scikit-learn's `ndcg_score`: https://scikit-learn.org/stable/modules/model_evaluation.html#normalized-discounted-cumulative-gain
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.scoring.metrics import Estimate, mean_estimates
from inference.scoring.table_metrics import RANKING, Judged
from promotion.errors import Invalid

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

CUTOFFS = (5, 10)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Records sorted by query, the highest score first. Records of one query with equal scores are a tie.

    Attributes:
        first: where each query begins, shape (queries,).
        query: the query of each record, shape (n,).
        rank: the rank of each record in its query, from 1, shape (n,).
        gain: the relevance of each record, shape (n,).
        tie: where each tie begins, shape (ties,).
    """

    first: Places
    query: Places
    rank: Places
    gain: Floats
    tie: Places

    @classmethod
    def of(cls, query: Places, gain: Floats, score: Floats) -> _Sorted:
        """Sort records that are in any order."""
        order = np.lexsort((-score, query))
        query, score = query[order], score[order]
        new_query = np.r_[True, query[1:] != query[:-1]]
        first = np.flatnonzero(new_query)
        place = np.cumsum(new_query) - 1
        tie = np.flatnonzero(new_query | np.r_[True, score[1:] != score[:-1]])
        return cls(first, place, np.arange(len(query)) - first[place] + 1, gain[order], tie)

    @property
    def tie_sizes(self) -> Places:
        """Number of records in each tie, shape (ties,)."""
        sizes: Places = np.diff(np.r_[self.tie, len(self.query)])
        return sizes

    @property
    def tie_ends(self) -> Places:
        """The rank of the last record of each tie, shape (ties,)."""
        ends: Places = self.rank[self.tie] + self.tie_sizes - 1
        return ends

    def sums(self, by_tie: Floats) -> Floats:
        """Sums over the ties of each query, shape (queries,)."""
        found: Floats = np.bincount(self.query[self.tie], by_tie, len(self.first)).astype(np.float64)
        return found


def ranking(
    query: Places, gain: Floats, score: Floats, *, cutoffs: Sequence[int] = CUTOFFS, relevant_from: float = 0.5
) -> Judged:
    """Return NDCG@k, MAP and MRR as means over the queries with a relevant record.

    Records with equal scores count as in scikit-learn: NDCG is the mean over all orders of a tie; for MAP and MRR all
    records of a tie have the rank of its last one. So the order of the file has no effect.

    Args:
        query: the number of each record's query, shape (n,), in any order.
        gain: relevance of each record, at least 0, shape (n,).
        score: the model's score, the largest is ranked first, shape (n,).
        cutoffs: the k of NDCG@k.
        relevant_from: the relevance from which MAP and MRR count a record as relevant.

    Returns:
        Estimates whose `n` is the number of queries; `by_row` has a value for each query, in the order of their numbers.

    Raises:
        Invalid: no record, a relevance below 0, or no query with a relevant record.
    """
    if not len(score):
        raise Invalid("references", "no record has an answer, a reference and a query.")
    if gain.min() < 0:
        raise Invalid("references", f"a relevance must be at least 0, and there is {gain.min():g}.")
    query = np.unique(query, return_inverse=True)[1]
    found = _Sorted.of(query, gain, score)
    ideal = _Sorted.of(query, gain, gain).gain
    values = {f"ndcg_at_{k}": _ndcg(found, ideal, k) for k in cutoffs}
    values["map"], values["mrr"] = _precision_and_rank(found, relevant_from)
    estimates = {name: _mean(each) for name, each in values.items() if np.isfinite(each).any()}
    if not estimates:
        raise Invalid("references", "no query has a relevant record.")
    return Judged(RANKING, estimates, by_row={name: values[name] for name in estimates}, query_of_row=query)


def _ndcg(found: _Sorted, ideal: Floats, k: int) -> Floats:
    """Return NDCG@k of each query, NaN if no record is relevant."""
    discount = np.where(found.rank <= k, 1 / np.log2(found.rank + 1), 0.0)  # (n,)
    gains = np.add.reduceat(found.gain, found.tie) / found.tie_sizes
    reached = found.sums(gains * np.add.reduceat(discount, found.tie))
    best = np.bincount(found.query, ideal * discount, len(found.first)).astype(np.float64)
    return _ratio(reached, best)


def _precision_and_rank(found: _Sorted, relevant_from: float) -> tuple[Floats, Floats]:
    """Return average precision and reciprocal rank of each query, NaN if no record is relevant."""
    hits = np.add.reduceat((found.gain >= relevant_from).astype(np.float64), found.tie)  # (ties,)
    relevant = found.sums(hits)
    before = np.r_[0.0, np.cumsum(relevant)[:-1]]
    precision = (np.cumsum(hits) - before[found.query[found.tie]]) / found.tie_ends
    reciprocal = np.where(hits > 0, 1 / found.tie_ends, 0.0)
    highest = np.maximum.reduceat(reciprocal, np.searchsorted(found.tie, found.first))
    return _ratio(found.sums(hits * precision), relevant), np.where(relevant > 0, highest, np.nan)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Return each quotient, NaN if the divisor is 0."""
    found: Floats = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return found


def _mean(by_query: Floats) -> Estimate:
    return mean_estimates(by_query[np.isfinite(by_query)][:, np.newaxis])[0]
