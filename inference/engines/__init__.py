"""What turns prepared requests into answers. The pipeline above neither knows nor cares which engine it drives.

An engine gets everything that waits at once, because forming batches is its own business: one that refills slots as
rows finish wants to see the queue. Texts that occur twice were already taken out; order is restored by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference.records.parameters import Generation
from inference.records.requests import Departure

# In place of an answer that nobody waits for any more.
LEFT = "the client has left"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text to generate from. `key` seeds its sampling, and belongs to the record, not to its place in a batch.

    `clients` are those who wait for it; once all have gone, it needs no more steps.
    """

    tokens: tuple[int, ...]
    settings: Generation
    key: int
    clients: tuple[Departure, ...] = ()

    @property
    def left(self) -> bool:
        return bool(self.clients) and all(client.gone for client in self.clients)


@dataclass(frozen=True, slots=True)
class Generated:
    """Token ids of each returned sequence, without start, padding and end; or why there are none."""

    sequences: tuple[tuple[int, ...], ...]
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A premise and a hypothesis, as the tokenizer joined them."""

    tokens: tuple[int, ...]
    types: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Entailment:
    """The two logits that zero-shot classification looks at."""

    contradiction: float
    entailment: float
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What did the work, for the metrics."""

    name: str
    device: str
    dtype: str


# Prompts that came meanwhile, for at most so many places, without waiting. Their indices count on.
Arrivals = Callable[[int], Sequence[Prompt]]


class TextEngine(Protocol):
    """Generates text from encoder-decoder models."""

    # Whether it asks `arrivals` while it computes.
    joins: bool

    @property
    def description(self) -> Description:
        """What did the work so far."""
        ...

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Each prompt's index and result, as they are ready, in any order; `arrivals` is asked by engines that have room."""
        ...


class PairEngine(Protocol):
    """Scores pairs of premise and hypothesis."""

    description: Description

    def score(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Entailment]]:
        """Each pair's index and logits, as they are ready, in any order."""
        ...
