"""Real time: many clients, one thread that owns the model.

settings.py  settings of hosting, from the environment
batcher.py   whole answers: requests of many clients share forward passes
steps.py     decoders with continuous batching, streamed or whole
formats.py   a stream's events, in TGI's form and in LMI's
forms.py     parsing of bodies, form of answers and errors: our own form; tgi_api.py and openai_api.py, theirs
meter.py     metrics and their text form
bodies.py    admission of bodies before they are read, and their time limits
connections.py  time limits of silent connections, and the server
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
    """The model failed on this request, and on it alone."""


class ModelHost(Protocol):
    """Connects clients, on the event loop, with the model, on its thread."""

    @property
    def alive(self) -> bool:
        """True while it can answer."""
        ...

    async def answers(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Return for each request an answer for each of its texts. If cancelled, it drops them at once.

        Raises:
            HostFailed
        """
        ...

    def stream(self, request: InferenceRequest) -> AsyncIterator[TokenEvent]:
        """Yield the events of a request's one text; if closed early, the text is dropped."""
        ...

    def run(self) -> None:
        """On the model's thread, until it is stopped."""
        ...

    def stop(self) -> None:
        """From any thread."""
        ...
