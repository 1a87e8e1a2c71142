"""Decoder language models: one text continues another, and everybody may watch it grow.

settings.py  what one request may ask for, and how much: parameters and limits
asking.py    a record becomes prompts: plain text, messages through the artifact's chat template
words.py     token ids become text as they come: characters that span tokens, stops, ends
steps.py     the engine: one step for everybody, whoever came and whoever left meanwhile
paged.py     whole answers by transformers' generate_batch, for batch jobs
vllm.py      the same by vLLM, in a process of its own
task.py      the task that the pipeline sees
opening.py   a loaded decoder and its limits become that task
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from inference.decoders.settings import Decoding
from inference.engines import Description


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is to be continued. `key` seeds its sampling, and belongs to the text, not to its place in a batch."""

    text: str
    tokens: tuple[int, ...]
    settings: Decoding
    key: int
    # The text of each of `tokens`, where that was asked for.
    shown: tuple[str, ...] = ()

    @property
    def most_tokens(self) -> int:
        return len(self.tokens) + (self.settings.max_new_tokens or 0)


@dataclass(frozen=True, slots=True)
class Piece:
    """One token more. `text` is empty while a character is incomplete; `finish` and what follows come with the last."""

    id: int
    text: str
    logprob: float
    special: bool
    finish: str | None = None
    generated_text: str | None = None
    error: str | None = None


@dataclass(slots=True, eq=False)
class Ticket:
    """A continuation under way. `emit` is called on the engine's thread, `leave` on any."""

    prompt: Continuation
    emit: Callable[[Piece], None]
    left: bool = field(default=False)
    # What an engine that waits elsewhere wants to be told by.
    let_go: Callable[[], None] | None = None

    def leave(self) -> None:
        """Nobody waits for this text any more."""
        self.left = True
        if self.let_go is not None:
            self.let_go()


class Continuing(Protocol):
    """Continues many texts at once, and lets them be watched."""

    @property
    def description(self) -> Description:
        """What did the work so far."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can still work."""
        ...

    def submit(self, ticket: Ticket) -> None:
        """From any thread. Its last piece has a `finish`, unless it has left."""
        ...

    def step(self) -> bool:
        """Do some work on the thread that owns the model; whether there is more to do."""
        ...

    def close(self) -> None: ...


def failed(why: str) -> Piece:
    """The last piece of what can't be continued."""
    return Piece(-1, "", 0.0, True, "error", "", why)
