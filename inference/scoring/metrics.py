"""Metrics of generated texts and labels: values per record, and means with confidence intervals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
EXACT = "exact_match"
CORPUS = ("chrf", "bleu")
CLASSIFICATION = ("accuracy", "macro_f1")
RESAMPLES = 1_000
# With more records than this, resampling all of them adds no precision and takes minutes.
_MOST_RESAMPLED = 50_000
# Values that a step of the resampling holds, each of 8 bytes: many small resamples together are faster than one by one.
_MOST_DRAWN = 200_000
_CORPUS_RESAMPLES, _MOST_OF_A_CORPUS = 100, 1_000
_WORD = re.compile(r"\w")
_WITHOUT_SPACES = frozenset({"ja", "ko", "th", "lo", "km", "my"})


class Scorer(Protocol):
    """The part of rouge_score's interface that is used here."""

    def score_multi(self, targets: Sequence[str], prediction: str) -> Any:
        """Score a prediction against several references, keeping the best score of each measure."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with its 95 % interval, found by resampling the records."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        """Return value and interval, rounded to 6 digits, and the number of records `n`."""
        digits = {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}
        return {**digits, "n": self.n}


def text_scorer() -> Scorer:
    """Return a ROUGE scorer with the defaults of rouge-score: no stemming."""
    scorer: Scorer = rouge_scorer.RougeScorer(list(ROUGE))
    return scorer


def text_scores(scorer: Scorer, prediction: str, references: Sequence[str]) -> dict[str, float]:
    """Return ROUGE F-measures and exact match; with several references the best one counts."""
    scores = scorer.score_multi(references, prediction)
    found = {name: float(scores[name].fmeasure) for name in ROUGE}
    found[EXACT] = float(any(_plain(prediction) == _plain(reference) for reference in references))
    return found


def rouge_applies(references: Sequence[str]) -> bool:
    """Return True if rouge-score finds words in the texts: it supports a to z and digits only."""
    seen, known = 0, 0
    for text in references:
        letters = _WORD.findall(text.lower())
        seen += len(letters)
        known += sum(letter.isascii() for letter in letters)
    return not seen or known >= seen / 2


def mean_estimates(scores: Numbers, *, seed: int = 0) -> list[Estimate]:
    """Return the mean of each column of `scores`, shape (records, metrics) with at least one record, with its interval."""
    count, columns = scores.shape
    means = scores.mean(axis=0)
    if count > _MOST_RESAMPLED:
        # With this many records the mean is approximately normal.
        spread = 1.96 * scores.std(axis=0, ddof=1) / np.sqrt(count)
        low, high = means - spread, means + spread
    else:
        random = np.random.default_rng(seed)
        resampled = np.empty((RESAMPLES, columns))
        at_once = max(1, _MOST_DRAWN // (count * columns))
        for block in np.split(resampled, range(at_once, RESAMPLES, at_once)):
            block[:] = scores[random.integers(0, count, (len(block), count))].mean(axis=1)
        low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return [Estimate(float(means[k]), float(low[k]), float(high[k]), count) for k in range(columns)]


def corpus_estimates(
    names: Sequence[str], outputs: Sequence[str], references: Sequence[Sequence[str]], *, language: str = ""
) -> dict[str, tuple[Estimate, str]]:
    """Return corpus chrF and BLEU by sacrebleu, from 0 to 100, each with its signature.

    BLEU counts n-grams of words, or of characters if `language` is written without spaces between words.
    """
    found: dict[str, tuple[Estimate, str]] = {}
    # sacrebleu expects one list for each index of a record's references.
    places = max(map(len, references))
    streams = [[row[place] if place < len(row) else None for row in references] for place in range(places)]
    for name in names:
        tokens = "zh" if language == "zh" else "char" if language in _WITHOUT_SPACES else None
        metric = CHRF() if name == "chrf" else BLEU(effective_order=len(outputs) == 1, tokenize=tokens)
        try:
            score = metric.corpus_score(list(outputs), streams, n_bootstrap=RESAMPLES if len(outputs) > 1 else 1)
            # sacrebleu's bootstrap is private; if it is missing, the interval is the value.
            middle, half = float(getattr(score, "_mean", score.score)), float(getattr(score, "_ci", 0.0))
        except TypeError:
            # sacrebleu's bootstrap mixes Python's floats with NumPy's if a resample scores 0, which Python's mean
            # refuses.
            score = metric.corpus_score(list(outputs), streams)
            middle, half = _corpus_interval(metric, outputs, streams, score.score)
        if half < 0 or np.isnan(half):
            middle, half = score.score, 0.0
        # sacrebleu returns 100.00000000000004 for a perfect corpus.
        value, low, high = (float(np.clip(each, 0, 100)) for each in (score.score, middle - half, middle + half))
        estimate = Estimate(value, low, high, len(outputs))
        found[name] = (estimate, str(metric.get_signature()))
    return found


def _corpus_interval(
    metric: CHRF | BLEU, outputs: Sequence[str], streams: Sequence[Sequence[str | None]], value: float
) -> tuple[float, float]:
    """Return value and half of a corpus's 95 % interval, from resamples of a limited number of rows, scaled."""
    size = min(len(outputs), _MOST_OF_A_CORPUS)
    random, drawn = np.random.default_rng(0), []
    for _ in range(_CORPUS_RESAMPLES):
        rows = random.integers(0, len(outputs), size)
        chosen = [[stream[row] for row in rows] for stream in streams]
        drawn.append(float(metric.corpus_score([outputs[row] for row in rows], chosen).score))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return value, float(high - low) / 2 * float(np.sqrt(size / len(outputs)))


@dataclass(frozen=True, slots=True)
class Confusion:
    """Confusion matrix: counts by true label (row) and answered label (column)."""

    labels: tuple[str, ...]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Confusion:
        """Count `pairs` of (reference, prediction)."""
        return cls.counted(Counter(pairs))

    @classmethod
    def counted(cls, pairs: Mapping[tuple[str, str], int]) -> Confusion:
        """Make a matrix of `pairs` of (reference, prediction), each with its count."""
        labels = tuple(sorted({label for pair, times in pairs.items() if times for label in pair}))
        place = {label: index for index, label in enumerate(labels)}
        counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for (reference, prediction), times in pairs.items():
            if not times:
                continue
            counts[place[reference], place[prediction]] += times
        return cls(labels, counts)

    def estimates(self) -> dict[str, Estimate]:
        """Return accuracy and macro F1; drawing cells from a multinomial is the same as resampling records."""
        total = int(self.counts.sum())
        # Only cells with counts can be drawn; with 500 labels there are 250,000 cells.
        rows, columns = np.nonzero(self.counts)
        times = self.counts[rows, columns]
        random, shares = np.random.default_rng(0), times / total
        drawn = [_rates(rows, columns, random.multinomial(total, shares), len(self.labels)) for _ in range(RESAMPLES)]
        low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
        values = _rates(rows, columns, times, len(self.labels))
        return {
            name: Estimate(values[place], float(low[place]), float(high[place]), total)
            for place, name in enumerate(CLASSIFICATION)
        }

    def as_json(self) -> dict[str, Any]:
        """Return labels and counts as plain data."""
        return {"labels": list(self.labels), "counts": self.counts.tolist()}


def _rates(rows: Places, columns: Places, times: Places, labels: int) -> tuple[float, float]:
    """Return accuracy and macro F1 of cells, given by reference, answer and count.

    Macro F1 is the mean over labels that occur as reference or as answer, as in scikit-learn.
    """
    right = np.bincount(rows, times * (rows == columns), labels)  # (labels,)
    seen = np.bincount(rows, times, labels) + np.bincount(columns, times, labels)  # 2 tp + fn + fp
    f1 = np.divide(2 * right, seen, out=np.zeros(labels), where=seen > 0)
    return float(right.sum() / times.sum()), float(f1.sum() / np.count_nonzero(seen))


def _plain(text: str) -> str:
    return " ".join(text.split())
