"""Cache of pairs' scores, by text, label and template, across requests."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from inference.engines import Entailment

# About 200 bytes each, because the key is a digest of text and hypothesis.
MOST_SCORES = 65_536


@dataclass(frozen=True, slots=True)
class Scored:
    """A pair's logits, its number of tokens, and whether its text was truncated."""

    logits: Entailment
    tokens: int
    truncated: bool


class ScoreCache:
    """An LRU cache of at most `most` pairs."""

    def __init__(self, most: int = MOST_SCORES) -> None:
        """Make an empty cache."""
        self._most = most
        self._scores: OrderedDict[bytes, Scored] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of cached pairs."""
        return len(self._scores)

    def get(self, text: str, hypothesis: str) -> Scored | None:
        """Return the pair's score; None if it is not cached."""
        key = _key(text, hypothesis)
        found = self._scores.get(key)
        if found is not None:
            self._scores.move_to_end(key)
        return found

    def put(self, text: str, hypothesis: str, scored: Scored) -> None:
        """Cache a pair's score; errors are not cached."""
        if scored.logits.error is not None:
            return
        self._scores[_key(text, hypothesis)] = scored
        if len(self._scores) > self._most:
            self._scores.popitem(last=False)


def _key(text: str, hypothesis: str) -> bytes:
    # The length separates text and hypothesis unambiguously.
    parts = f"{len(text)} {text}{hypothesis}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(parts, digest_size=16).digest()
