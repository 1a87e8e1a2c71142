"""Admission of request bodies before they are read: size, total memory, and time to receive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

# The largest body that SageMaker sends in a transform request.
LARGEST_BODY_BYTES = 100 << 20
# The limit for all bodies together; small bodies are not counted, because the number of requests limits them.
ALL_BODIES_BYTES = 256 << 20
SMALL_BODY_BYTES = 64 << 10
# The time limit for a body: this many seconds, and more for a large body, at this least rate.
PATIENCE_S = 30.0
SLOWEST_BYTES_PER_S = 256 << 10
# Seconds for bodies that are still being received when the server is being stopped.
CLOSING_S = 5.0


class BodyRefused(Exception):
    """A body that is not read, or not read to its end."""

    def __init__(self, status: int, reason: str) -> None:
        """Refuse a body with an HTTP status and a reason."""
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class Body:
    """A request body, and the memory budget that it holds until its request is answered."""

    content: bytearray = field(default_factory=bytearray)
    held: int = 0


class Bodies:
    """The bodies of one server, on its event loop."""

    def __init__(
        self,
        *,
        most: int = ALL_BODIES_BYTES,
        readers: int = 512,
        patience: float = PATIENCE_S,
        closing_s: float = CLOSING_S,
    ) -> None:
        """Make the memory budget that all request bodies share.

        Args:
            most: Bytes of all bodies together.
            readers: The most bodies that are read at once.
            patience: Seconds that a client has to send its body.
            closing_s: Seconds for bodies that are still being received when the server is being stopped.
        """
        self._most, self._readers, self._patience, self._closing_s = most, readers, patience, closing_s
        self._held = self._reading = 0
        self._limits: set[asyncio.Timeout] = set()
        self._closing = False

    def close(self) -> None:
        """Give bodies that are still being received only a few more seconds."""
        self._closing = True
        soon = asyncio.get_running_loop().time() + self._closing_s
        for limit in self._limits:
            limit.reschedule(min(soon, limit.when() or soon))

    async def read(self, request: Request) -> Body:
        """Read the body of `request`; `release` returns its memory budget.

        Raises:
            BodyRefused: the body is too large or too slow, or the memory budget is used up.
            ClientDisconnect: the client disconnected.
        """
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        if size > LARGEST_BODY_BYTES:
            raise BodyRefused(413, f"The request is larger than {LARGEST_BODY_BYTES >> 20} MB.")
        if self._reading >= self._readers:
            raise BodyRefused(429, f"The server reads {self._reading} requests, and takes no more.")
        body = Body()
        self._reading += 1
        try:
            self._hold(body, size)
            async with self._timed() as (limit, begun):
                await self._fill(request, body, limit, begun)
        except BaseException:
            self.release(body)
            raise
        finally:
            self._reading -= 1
        return body

    def release(self, body: Body) -> None:
        """Return the memory budget of `body`."""
        self._held -= body.held
        body.held = 0

    def _hold(self, body: Body, size: int) -> None:
        more = size - body.held if size > SMALL_BODY_BYTES else 0
        if more <= 0:
            return
        if self._held + more > self._most:
            raise BodyRefused(429, f"The server holds {self._held >> 20} MB of requests, and has no room for this one.")
        body.held += more
        self._held += more

    async def _fill(self, request: Request, body: Body, limit: asyncio.Timeout, begun: float) -> None:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            size = len(body.content) + len(chunk)
            if size > LARGEST_BODY_BYTES:
                raise BodyRefused(413, f"The request is larger than {LARGEST_BODY_BYTES >> 20} MB.")
            # Has an effect only if no length was declared.
            self._hold(body, size)
            body.content += chunk
            if not message.get("more_body", False):
                return
            if not self._closing:
                limit.reschedule(begun + self._patience + size / SLOWEST_BYTES_PER_S)

    @asynccontextmanager
    async def _timed(self) -> AsyncIterator[tuple[asyncio.Timeout, float]]:
        begun = asyncio.get_running_loop().time()
        limit = asyncio.timeout_at(begun + (self._closing_s if self._closing else self._patience))
        self._limits.add(limit)
        try:
            async with limit:
                yield limit, begun
        except TimeoutError:
            if self._closing:
                raise BodyRefused(503, "The server is being stopped.") from None
            raise BodyRefused(408, f"The request did not come within {self._patience:g} s.") from None
        finally:
            self._limits.discard(limit)
