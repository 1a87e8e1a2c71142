"""Real-time inference: many clients, and one thread that owns the model.

settings.py  settings of hosting, from environment variables
batcher.py   complete answers: requests of many clients share forward passes
steps.py     decoders with continuous batching, streamed or complete
formats.py   a stream's events, in the formats of TGI and LMI
forms.py     parsing of bodies, formats of answers and errors: our own; those of others: tgi_api.py and openai_api.py
meter.py     metrics and their text format
bodies.py    admission of bodies before they are read, and their time limits
connections.py  time limits of idle connections, and the server
app.py       the routes
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from inference.decoders import TokenEvent
from inference.records.requests import InferenceRequest
from inference.tasks.tasks import Answer
from promotion.errors import PromotionError


class HostFailed(PromotionError):
    """The model failed on this request only."""


class ModelHost(Protocol):
    """Connects clients on the event loop with the model on its own thread."""

    @property
    def alive(self) -> bool:
        """True while the host can answer requests."""
        ...

    async def answers(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Return, for each request, an answer for each of its texts. If cancelled, the requests are dropped at once.

        Raises:
            HostFailed: The model failed on a request.
        """
        ...

    def stream(self, request: InferenceRequest) -> AsyncIterator[TokenEvent]:
        """Yield the events of a request's one text; if closed early, the text is dropped."""
        ...

    def run(self) -> None:
        """Answer requests until stopped; call on the model's thread."""
        ...

    def stop(self) -> None:
        """Stop answering; may be called from any thread."""
        ...
