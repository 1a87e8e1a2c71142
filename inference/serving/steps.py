"""Real-time text generation by continuous batching, streamed or as complete answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

from inference.decoders import RequestHandle, TokenEvent, failed
from inference.decoders.task import Collected, TextGeneration, grouped
from inference.records.requests import InferenceRequest
from inference.serving.meter import Meter
from inference.tasks.tasks import Answer

_IDLE_S = 0.5


class StepHost:
    """Connects clients on the event loop with an engine on its own thread."""

    def __init__(self, task: TextGeneration, meter: Meter) -> None:
        """Make a host for a text generation task; `run` does the steps, on its own thread."""
        self._engine, self._meter = task.engine, meter
        self._work, self._stopped = threading.Event(), False
        self._open: set[RequestHandle] = set()

    @property
    def alive(self) -> bool:
        """True while the engine works and the host is not stopped."""
        return not self._stopped and self._engine.alive

    async def answers(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Generate complete answers for each request, one for each of its texts."""
        prompts = [(request.chat, prompt) for request in requests for prompt in request.prepared]
        if not prompts:
            return []
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        collected = [Collected(prompt) for _, prompt in prompts]
        missing = len(prompts)

        def count() -> None:
            nonlocal missing
            missing -= 1
            if not missing and not future.done():
                future.set_result(None)

        def emitter(one: Collected) -> Callable[[TokenEvent], None]:
            def emit(event: TokenEvent) -> None:
                one.add(event)
                if event.finish is not None:
                    _call(loop, count)

            return emit

        handles = [RequestHandle(one.prompt, emitter(one)) for one in collected]
        self._submit(handles)
        try:
            await future
        finally:
            self._cancel(handles)
        found = iter(one.answer(chat=chat) for (chat, _), one in zip(prompts, collected, strict=True))
        for one in collected:
            self._meter.first(one.first)
        return [grouped(request, [next(found) for _ in request.prepared]) for request in requests]

    async def stream(self, request: InferenceRequest) -> AsyncIterator[TokenEvent]:
        """Yield the events of one request's text as they are generated."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[TokenEvent] = asyncio.Queue()
        handle = RequestHandle(request.prepared[0], lambda event: _call(loop, lambda: events.put_nowait(event)))
        self._submit([handle])
        try:
            while True:
                event = await events.get()
                yield event
                if event.finish is not None:
                    return
        finally:
            self._cancel([handle])

    def run(self) -> None:
        """Run the engine's steps until stopped."""
        while not self._stopped:
            # Cleared first, so that a request that arrives later is either in this step or sets the event again.
            self._work.clear()
            if not self._engine.step():
                self._work.wait(_IDLE_S)
        self._engine.close()

    def stop(self) -> None:
        """Stop the engine and fail all open requests."""
        self._stopped = True
        self._work.set()
        for handle in list(self._open):
            handle.cancel()
            handle.emit(failed("the server is being stopped"))

    def _submit(self, handles: Sequence[RequestHandle]) -> None:
        self._meter.passing(len(handles))
        self._open.update(handles)
        for handle in handles:
            self._engine.submit(handle)
        self._work.set()

    def _cancel(self, handles: Sequence[RequestHandle]) -> None:
        """Cancel the requests; those that are finished are not affected."""
        for handle in handles:
            handle.cancel()
            self._open.discard(handle)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
