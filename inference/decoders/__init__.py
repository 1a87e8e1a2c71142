"""Decoder language models: they continue a prompt, and can stream the tokens.

settings.py         parameters of a request, and their limits
request_reader.py   a record becomes prompts: plain text, messages through the artifact's chat template
words.py            token ids become text as they come: characters that span tokens, stops, ends
packing.py          its weights, packed for a CPU
steps.py            the engine: continuous batching, a step at a time
vllm.py             the same by vLLM, in a process of its own
task.py             the task that the pipeline sees
opening.py          a loaded decoder and its limits become that task
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from inference.decoders.settings import Decoding
from inference.engines import Description


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt to generate from; `key` seeds its sampling, and depends on the text, not on its place in a batch."""

    text: str
    tokens: tuple[int, ...]
    settings: Decoding
    key: int
    # The text of each of `tokens`, if requested.
    shown: tuple[str, ...] = ()

    @property
    def most_tokens(self) -> int:
        return len(self.tokens) + (self.settings.max_new_tokens or 0)


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A generated token; `text` is empty while a character is incomplete, `finish` and the rest are set on the last."""

    id: int
    text: str
    logprob: float
    special: bool
    finish: str | None = None
    generated_text: str | None = None
    error: str | None = None


@dataclass(slots=True, eq=False)
class RequestHandle:
    """Handle of a request in progress; the engine's thread calls `emit`, any thread can call `cancel`."""

    prompt: GenerationRequest
    emit: Callable[[TokenEvent], None]
    left: bool = field(default=False)
    # Callback by which an engine learns of the cancellation.
    on_cancel: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Cancel the request: its client has disconnected."""
        self.left = True
        if self.on_cancel is not None:
            self.on_cancel()


class DecoderEngine(Protocol):
    """Decoder engine with continuous batching, which streams its tokens."""

    @property
    def description(self) -> Description:
        """Device, engine and precision that answered so far."""
        ...

    @property
    def alive(self) -> bool:
        """True while the engine can work."""
        ...

    def submit(self, handle: RequestHandle) -> None:
        """Queue a request, from any thread; its last event has a `finish`, unless it was cancelled."""
        ...

    def step(self) -> bool:
        """Do one step on the thread that owns the model; return True if there is more to do."""
        ...

    def close(self) -> None: ...


def failed(why: str) -> TokenEvent:
    """Return the last event of a request that failed."""
    return TokenEvent(-1, "", 0.0, True, "error", "", why)
