"""Scores of pairs that were computed before: the same text, label and template, in whatever request."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from inference.engines import Entailment

# About 200 bytes each: a digest stands for text and hypothesis.
MOST_SCORES = 65_536


@dataclass(frozen=True, slots=True)
class Scored:
    """A pair's logits, its tokens, and whether its text was cut."""

    logits: Entailment
    tokens: int
    truncated: bool


class ScoreCache:
    """The pairs that were asked for last, at most `most`; the least recently used one makes room."""

    def __init__(self, most: int = MOST_SCORES) -> None:
        """Make an empty cache."""
        self._most = most
        self._scores: OrderedDict[bytes, Scored] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of pairs in it."""
        return len(self._scores)

    def get(self, text: str, hypothesis: str) -> Scored | None:
        """Return the pair's score, or None if it isn't known (any more)."""
        key = _key(text, hypothesis)
        found = self._scores.get(key)
        if found is not None:
            self._scores.move_to_end(key)
        return found

    def put(self, text: str, hypothesis: str, scored: Scored) -> None:
        """Keep a pair's score; an error is not kept."""
        if scored.logits.error is not None:
            return
        self._scores[_key(text, hypothesis)] = scored
        if len(self._scores) > self._most:
            self._scores.popitem(last=False)


def _key(text: str, hypothesis: str) -> bytes:
    # The length tells where the text ends.
    parts = f"{len(text)} {text}{hypothesis}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(parts, digest_size=16).digest()
