"""Time limits of a connection and of the server's end, on a clock that the test sets."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from inference.serving import connections
from inference.serving.bodies import SLOWEST_BYTES_PER_S
from inference.serving.connections import Connection, Server

HEAD = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 60000000\r\n\r\n"


class Task:
    """A task of the loop that is never run."""

    def add_done_callback(self, call: Any) -> None: ...


class Clock:
    """An event loop whose time is set, and that keeps the last timer."""

    def __init__(self) -> None:
        self.now = self.due = 0.0
        self.call: Callable[[], None] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        self.due, self.call = self.now + seconds, call
        return SimpleNamespace(cancel=lambda: None)

    def create_task(self, work: Any) -> Any:
        work.close()
        return Task()

    def expire(self) -> None:
        """Let the time pass until the timer, and call it."""
        assert self.call is not None
        self.now = self.due
        self.call()


class Transport:
    """A transport that keeps what was written, and whether it was closed."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False

    def get_extra_info(self, name: str) -> None: ...

    def pause_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def write(self, content: bytes) -> None:
        self.written += content

    def close(self) -> None:
        self.closed = True


async def unused(scope: Any, receive: Any, send: Any) -> None: ...


def config() -> uvicorn.Config:
    return uvicorn.Config(unused, http=Connection, log_config=None, lifespan="off", ws="none")


def connected(clock: Clock) -> tuple[Connection, Transport]:
    transport = Transport()
    connection = Connection(
        config=config(), server_state=ServerState(), app_state={}, _loop=cast(asyncio.AbstractEventLoop, clock)
    )
    connection.connection_made(cast(asyncio.Transport, transport))
    return connection, transport


def test_a_body_may_take_longer_the_more_of_it_came() -> None:
    clock = Clock()
    connection, transport = connected(clock)
    connection.data_received(HEAD)
    first = clock.due
    connection.data_received(b"x" * (10 * SLOWEST_BYTES_PER_S))

    clock.expire()
    assert (transport.closed, clock.due) == (False, first + 10)
    clock.expire()
    assert (transport.closed, transport.written) == (True, b"")


def test_a_connection_that_is_closing_is_told_nothing_more() -> None:
    clock = Clock()
    connection, transport = connected(clock)
    connection.data_received(b"POST /invoc")
    transport.close()

    clock.expire()
    assert transport.written == b""


def test_a_server_that_is_not_drained_in_time_ends_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended, codes, closing = Event(), list[int](), Event()

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(connections, "END_SECONDS", 0)
    server = Server(config(), closing=closing.set, overdue=lambda: None)
    server.servers, server.force_exit = [], True

    asyncio.run(server.shutdown())
    assert ended.wait(60)
    assert (codes, closing.is_set()) == ([0], True)
    assert "not drained after 0 s" in caplog.text
