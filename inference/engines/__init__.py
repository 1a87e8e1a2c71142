"""Engines: they compute results for prepared requests, behind a protocol that hides the implementation.

An engine gets the whole queue, because it forms its own batches: continuous batching refills slots as sequences finish.
The caller removes duplicate texts before, and restores the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from inference.records.parameters import Generation
from inference.records.requests import CancelToken

# The error of a request whose client has disconnected.
LEFT = "the client has left"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt; `key` seeds its sampling, and depends on the record, not on its place in a batch.

    `clients` wait for the result; generation stops once all of them have disconnected.
    """

    tokens: tuple[int, ...]
    settings: Generation
    key: int
    clients: tuple[CancelToken, ...] = ()

    @property
    def left(self) -> bool:
        return bool(self.clients) and all(client.cancelled for client in self.clients)


@dataclass(frozen=True, slots=True)
class Generated:
    """Token ids of each returned sequence, without start, padding and end tokens; or the error."""

    sequences: tuple[tuple[int, ...], ...]
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A premise and a hypothesis, joined by the tokenizer."""

    tokens: tuple[int, ...]
    types: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Entailment:
    """The two logits of zero-shot classification."""

    contradiction: float
    entailment: float
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """Name, device and precision of an engine, for the metrics."""

    name: str
    device: str
    dtype: str
    # The number of faster engines that failed their check at start, and so don't answer.
    fallbacks: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """Return the fields by name, without fallbacks where there were none."""
        return {name: value for name, value in asdict(self).items() if value != 0}


# Returns newly arrived prompts, at most the given number, without waiting. Their indices continue the count.
Arrivals = Callable[[int], Sequence[Prompt]]


class TextEngine(Protocol):
    """Generates text from encoder-decoder models."""

    # True if it calls `arrivals` while it generates (continuous batching).
    joins: bool

    @property
    def description(self) -> Description:
        """Device, engine and precision that answered so far."""
        ...

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Yield each prompt's index and result when ready, in any order; `arrivals` supplies prompts for free slots."""
        ...


class PairEngine(Protocol):
    """Scores pairs of premise and hypothesis."""

    description: Description

    def score(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Entailment]]:
        """Yield each pair's index and logits when ready, in any order."""
        ...
