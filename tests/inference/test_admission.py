"""Admission of bodies before they are read, silent connections, and the server's end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from inference.serving import bodies
from inference.serving.bodies import Bodies, BodyRefused
from inference.serving.connections import Connection
from inference.tasks.pipeline import Pipeline
from promotion.client.artifact import manifest_of_folder
from tests.inference.servers import Server, serving

MB = 1 << 20


def sent(*chunks: bytes, declared: int | None = None, ends: bool = True) -> Request:
    """A request whose body comes in `chunks`; one that doesn't end says nothing after them."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if ends:
        waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    headers = [] if declared is None else [(b"content-length", str(declared).encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def refused(held: Bodies, request: Request) -> int:
    with pytest.raises(BodyRefused) as caught:
        asyncio.run(held.read(request))
    return caught.value.status


def test_a_declared_length_above_the_limit_is_refused_before_anything_is_read() -> None:
    request = sent(declared=bodies.LARGEST_BODY_BYTES + 1, ends=False)

    assert refused(Bodies(), request) == 413


def test_a_body_without_a_length_is_refused_where_it_grows_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LARGEST_BODY_BYTES", 2 * MB)

    assert refused(Bodies(), sent(bytes(MB), bytes(MB), b"x", ends=False)) == 413


@pytest.mark.parametrize("declared", [3 * MB, None])
def test_bodies_have_a_bound_as_a_whole_and_room_comes_back(declared: int | None) -> None:
    held = Bodies(most=4 * MB)

    async def two() -> int:
        first = await held.read(sent(bytes(3 * MB), declared=3 * MB))
        with pytest.raises(BodyRefused) as caught:
            await held.read(sent(bytes(3 * MB), declared=declared))
        held.release(first)
        second = await held.read(sent(bytes(3 * MB), declared=declared))
        held.release(second)
        return caught.value.status

    assert asyncio.run(two()) == 429


def test_small_bodies_are_bounded_by_their_number() -> None:
    held = Bodies(readers=1)

    async def crowd() -> int:
        first = asyncio.ensure_future(held.read(sent(b"a", ends=False)))
        await asyncio.sleep(0)
        with pytest.raises(BodyRefused) as caught:
            await held.read(sent(b"b"))
        first.cancel()
        return caught.value.status

    assert asyncio.run(crowd()) == 429


def test_a_body_that_does_not_come_is_ended() -> None:
    assert refused(Bodies(patience=0.05), sent(b"half", ends=False)) == 408


def test_a_body_under_way_is_not_waited_for_once_the_server_ends() -> None:
    held = Bodies(closing_s=0.05)

    async def closed() -> int:
        reading = asyncio.ensure_future(held.read(sent(b"half", ends=False)))
        await asyncio.sleep(0)
        held.close()
        with pytest.raises(BodyRefused) as caught:
            await reading
        return caught.value.status

    assert asyncio.run(closed()) == 503


@pytest.fixture
def connected(texts: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(Connection, "patience", 0.3)
    with serving(texts) as (address, _, _):
        port = int(address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
            yield one


def said(connection: socket.socket) -> bytes:
    found = b""
    while chunk := connection.recv(4_096):
        found += chunk
    return found


@pytest.mark.parametrize("begun", [b"", b"POST /invocations HTTP/1.1\r\nHost: a\r\n"])
def test_headers_that_do_not_come_end_their_connection(connected: socket.socket, begun: bytes) -> None:
    connected.sendall(begun)

    head, _, body = said(connected).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"content-length: %d\r\n" % len(body) in head
    assert json.loads(body)["error_type"] == "validation"


def test_a_declared_length_is_refused_without_its_body(connected: socket.socket) -> None:
    connected.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 200000000\r\n\r\n")

    assert connected.recv(4_096).startswith(b"HTTP/1.1 413")


def test_a_server_whose_clients_say_nothing_more_ends_well(t5_folder: Path) -> None:
    server = Server(t5_folder, PROMOTION_MANIFEST_SHA256=manifest_of_folder(t5_folder).sha256)
    server.wait_until_ready()
    half = (
        b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000000\r\n\r\n{"
    )
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
    for one in clients[:-1]:
        one.sendall(half)
    clients[-1].sendall(b"POST /invoc")

    code, log = server.stop()

    for one in clients:
        one.close()
    assert code == 0
    assert "Traceback" not in log
