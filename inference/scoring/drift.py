"""Input drift against the training data: population stability index (PSI) of length and vocabulary.

By convention 0.1 is a moderate shift, and 0.25 a different population.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from promotion.errors import Invalid

_WORDS = re.compile(r"\w+")
_BINS = 10
_VOCABULARY = 200


def profile(texts: Iterable[str]) -> dict[str, Any]:
    """Return a baseline: the shares of texts by length, and of the most common words."""
    lengths, words = _counted(texts)
    if not lengths:
        raise Invalid("baseline", "there is no text to make one from.")
    edges = _quantiles(lengths)
    common = [word for word, _ in words.most_common(_VOCABULARY)]
    return {
        "schema": 1,
        "texts": lengths.total(),
        "length": {"edges": edges, "shares": _shares(_by_length(lengths, edges))},
        "vocabulary": {"words": common, "shares": _shares(_by_word(words, common))},
    }


def drift(baseline: Mapping[str, Any], texts: Iterable[str]) -> dict[str, float]:
    """Return the population stability index of `texts` against `baseline`, for length and for vocabulary.

    Raises:
        Invalid: the baseline is no profile of `profile`.
    """
    try:
        edges, expected_lengths = list(baseline["length"]["edges"]), list(baseline["length"]["shares"])
        common, expected_words = list(baseline["vocabulary"]["words"]), list(baseline["vocabulary"]["shares"])
    except (KeyError, TypeError):
        raise Invalid("baseline", "has no length and vocabulary with their shares.") from None
    lengths, words = _counted(texts)
    if not lengths:
        return {}
    try:
        found = {
            "length_psi": round(stability_index(expected_lengths, _by_length(lengths, edges)), 6),
            "vocabulary_psi": round(stability_index(expected_words, _by_word(words, common)), 6),
        }
    except (ArithmeticError, TypeError, ValueError):
        raise Invalid("baseline", "the shares don't belong to the edges or words.") from None
    if not all(map(math.isfinite, found.values())):
        raise Invalid("baseline", "a share is no number.")
    return found


def stability_index(expected: Sequence[float], counts: Sequence[float]) -> float:
    """Return the sum of (actual - expected) ln(actual / expected).

    Half an observation is added to each bin, because an empty bin would make the index infinite.
    """
    total = sum(counts) + len(counts) / 2
    floor = 0.5 / total
    index = 0.0
    for share, count in zip(expected, counts, strict=True):
        actual, wanted = (count + 0.5) / total, max(share, floor)
        index += (actual - wanted) * math.log(actual / wanted)
    return index


def _counted(texts: Iterable[str]) -> tuple[Counter[int], Counter[str]]:
    """Count texts by number of words, and occurrences of each word."""
    lengths: Counter[int] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        found = _WORDS.findall(text.lower())
        lengths[len(found)] += 1
        words.update(found)
    return lengths, words


def _quantiles(lengths: Counter[int]) -> list[int]:
    """Return the inner edges of bins with about a tenth of the values each; fewer bins if lengths repeat."""
    edges: list[int] = []
    passed, total = 0, lengths.total()
    for length in sorted(lengths):
        passed += lengths[length]
        if passed >= total * (len(edges) + 1) / _BINS and len(edges) < _BINS - 1:
            while passed >= total * (len(edges) + 1) / _BINS and len(edges) < _BINS - 1:
                edges.append(length)
    return sorted(set(edges))


def _by_length(lengths: Counter[int], edges: Sequence[int]) -> list[int]:
    bounds = [-math.inf, *edges, math.inf]
    return [sum(count for length, count in lengths.items() if low < length <= high) for low, high in pairwise(bounds)]


def _by_word(words: Counter[str], common: Sequence[str]) -> list[int]:
    """Count each common word, and all other words together."""
    known = [words[word] for word in common]
    return [*known, words.total() - sum(known)]


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [round(count / total, 8) for count in counts]
