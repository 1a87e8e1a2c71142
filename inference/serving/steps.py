"""Decoders in real time: texts that grow together, each watched by its client or waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

from inference.decoders import Piece, Ticket, failed
from inference.decoders.task import Collected, TextGeneration, grouped
from inference.records.requests import Request
from inference.serving.meter import Meter
from inference.tasks.tasks import Answer

_IDLE_S = 0.5


class StepHost:
    """Lets clients on the event loop watch an engine on its thread."""

    def __init__(self, task: TextGeneration, meter: Meter) -> None:
        self._engine, self._meter = task.engine, meter
        self._work, self._stopped = threading.Event(), False
        self._open: set[Ticket] = set()

    @property
    def alive(self) -> bool:
        return not self._stopped and self._engine.alive

    async def answers(self, requests: Sequence[Request]) -> list[list[Answer]]:
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

        def emitter(one: Collected) -> Callable[[Piece], None]:
            def emit(piece: Piece) -> None:
                one.add(piece)
                if piece.finish is not None:
                    _call(loop, count)

            return emit

        tickets = [Ticket(one.prompt, emitter(one)) for one in collected]
        self._submit(tickets)
        try:
            await future
        finally:
            self._let_go(tickets)
        found = iter(one.answer(chat=chat) for (chat, _), one in zip(prompts, collected, strict=True))
        for one in collected:
            self._meter.first(one.first)
        return [grouped(request, [next(found) for _ in request.prepared]) for request in requests]

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece] = asyncio.Queue()
        ticket = Ticket(request.prepared[0], lambda piece: _call(loop, lambda: pieces.put_nowait(piece)))
        self._submit([ticket])
        try:
            while True:
                piece = await pieces.get()
                yield piece
                if piece.finish is not None:
                    return
        finally:
            self._let_go([ticket])

    def run(self) -> None:
        while not self._stopped:
            # Cleared first: what comes after is seen by the step or sets it again.
            self._work.clear()
            if not self._engine.step():
                self._work.wait(_IDLE_S)
        self._engine.close()

    def stop(self) -> None:
        self._stopped = True
        self._work.set()
        for ticket in list(self._open):
            ticket.leave()
            ticket.emit(failed("the server is being stopped"))

    def _submit(self, tickets: Sequence[Ticket]) -> None:
        self._meter.passing(len(tickets))
        self._open.update(tickets)
        for ticket in tickets:
            self._engine.submit(ticket)
        self._work.set()

    def _let_go(self, tickets: Sequence[Ticket]) -> None:
        """Whoever has its answer has left too: that costs nothing."""
        for ticket in tickets:
            ticket.leave()
            self._open.discard(ticket)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
