"""Time limits: connections without a complete request are closed, and a stopped server ends in time."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inference.serving.bodies import LARGEST_BODY_BYTES, PATIENCE_S, SLOWEST_BYTES_PER_S

# SageMaker leaves 30 s between SIGTERM and SIGKILL; this server ends within 20.
DRAIN_SECONDS = 16
# When unfinished requests get an error, so that their clients receive it before the connection ends.
ANSWER_SECONDS = 15
END_SECONDS = 19
# Added to the limit, because the application answers a slow client first, with a status of its own.
_LATER_S = 5.0
_LATE_BODY = b'{"error": "The headers of the request did not arrive.", "error_type": "validation"}\n'
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_LATE_BODY), _LATE_BODY)
)

log = logging.getLogger("inference")


class Connection(HttpToolsProtocol):
    """One client's connection, with a limit on how long its headers and its body may take."""

    patience = PATIENCE_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Make a connection; the arguments are uvicorn's."""
        super().__init__(*arguments, **options)
        self._late: asyncio.TimerHandle | None = None
        self._in_body = False
        self._came = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for the first request."""
        super().connection_made(transport)
        self._wait(self.patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        self._cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start the time limit for the headers."""
        super().on_message_begin()
        self._in_body = False
        self._wait(self.patience)

    def on_headers_complete(self) -> None:
        """Start the time limit for the body."""
        super().on_headers_complete()
        self._in_body, self._came = True, 0
        self._begun = self.loop.time()
        self._wait(self.patience + _LATER_S)

    def on_body(self, body: bytes) -> None:
        """Count the bytes of the body received so far."""
        super().on_body(body)
        self._came += len(body)

    def on_message_complete(self) -> None:
        """Stop the time limit: the request is complete."""
        self._cancel()
        super().on_message_complete()

    def _wait(self, seconds: float) -> None:
        self._cancel()
        self._late = self.loop.call_later(seconds, self._expire)

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _expire(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if not self._in_body:
            self.transport.write(_LATE)
            self.transport.close()
            return
        # A body that arrives fast enough may continue; a body that is no longer read has a limit too.
        allowed = self._begun + self.patience + min(self._came, LARGEST_BODY_BYTES) / SLOWEST_BYTES_PER_S + _LATER_S
        left = allowed - self.loop.time()
        if left > 0:
            self._wait(left)
        else:
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server with a time limit for shutting down."""

    def __init__(self, config: uvicorn.Config, *, closing: Callable[[], None], overdue: Callable[[], None]) -> None:
        """Make a server; `closing` is called on the event loop, `overdue` on a thread at the time limit."""
        super().__init__(config)
        self._closing, self._overdue = closing, overdue
        self._last: threading.Timer | None = None

    async def shutdown(self, sockets: Any = None) -> None:
        """Drain: finish begun requests, and drop incomplete ones."""
        self._last = threading.Timer(END_SECONDS, _end_now)
        answers = threading.Timer(ANSWER_SECONDS, self._overdue)
        for timer in (self._last, answers):
            timer.daemon = True
            timer.start()
        self._closing()
        try:
            await super().shutdown(sockets)
        finally:
            answers.cancel()

    def ended(self) -> None:
        """Cancel the forced exit, after the server, its event loop and the loop's threads have ended."""
        if self._last is not None:
            self._last.cancel()


def _end_now() -> None:
    log.error("not drained after %d s; ended with what was under way", END_SECONDS)
    logging.shutdown()
    os._exit(0)
