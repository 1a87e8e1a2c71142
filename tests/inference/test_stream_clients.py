"""Clients of streams: one that leaves makes room for the next, and several are streamed to at once."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference.batch.opening import task_for
from inference.decoders import RequestHandle, TokenEvent
from inference.decoders.task import TextGeneration
from inference.models.loading import Loaded, load
from inference.tasks.pipeline import Pipeline
from tests.inference.servers import Ready, serving, until
from tests.inference.test_streaming import ASKED, EVENTS, PARAMETERS, figures, streamed


@pytest.fixture(scope="module")
def loaded(llama_folder: Path) -> Loaded:
    return load(llama_folder)


class Gated:
    """An engine that takes a step only when it may."""

    def __init__(self, task: TextGeneration) -> None:
        self._engine, self.steps = task.engine, threading.Semaphore(0)
        self.submitted = self.done = 0
        self._begun: list[RequestHandle] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, handle: RequestHandle) -> None:
        emit = handle.emit

        def noted(event: TokenEvent) -> None:
            if handle not in self._begun:
                self._begun.append(handle)
            if event.finish:
                self._begun.remove(handle)
            emit(event)

        handle.emit = noted
        self._engine.submit(handle)
        self.submitted += 1

    def step(self) -> bool:
        if self.steps.acquire(timeout=0.01):
            self._engine.step()
            self.done += 1
        return True

    @property
    def under_way(self) -> int:
        """Texts that have a token and are neither finished nor left."""
        return sum(not handle.left for handle in self._begun)


@pytest.fixture
def gated(loaded: Loaded) -> Iterator[tuple[str, Gated, Ready, Any]]:
    """A server with room for one text at a time."""
    task = task_for(loaded, {"MAX_BATCH_TOTAL_TOKENS": "256"})
    assert isinstance(task, TextGeneration)
    engine = Gated(task)
    task.engine = engine
    with serving(Pipeline(task)) as (address, ready, meter):
        yield address, engine, ready, meter


def connected(address: str, asked: dict[str, Any]) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.request("POST", "/invocations", json.dumps(asked), {"Content-Type": "application/json"})
    return connection


def test_a_stream_whose_client_leaves_makes_room_for_the_next(gated: tuple[str, Gated, Ready, Any]) -> None:
    address, engine, _, meter = gated
    long = {"inputs": "the fox", "parameters": {"max_new_tokens": 200}, "stream": True}
    connection = connected(address, long)
    until(lambda: engine.submitted == 1)
    engine.steps.release(2)
    answer = connection.getresponse()
    events = [answer.readline() for _ in range(4)]
    with ThreadPoolExecutor(1) as clients:
        second = clients.submit(streamed, address, EVENTS)
        until(lambda: "requests_open 2" in figures(address))
        assert engine.under_way == 1

        answer.close()
        connection.close()
        # The next token finds nobody to go to.
        until(lambda: meter.left == 1)
        engine.steps.release(300)

        assert second.result().text.count("data:") == PARAMETERS["max_new_tokens"]

    assert [event[:5] for event in events] == [b"data:", b"\n", b"data:", b"\n"]
    assert meter.tokens_out < 200
    until(lambda: "requests_open 0" in figures(address))


def test_one_who_leaves_before_the_first_token_is_let_go(gated: tuple[str, Gated, Ready, Any]) -> None:
    address, engine, _, meter = gated
    waiting = [connected(address, {**ASKED, "stream": stream}) for stream in (True, False)]
    until(lambda: "requests_open 2" in figures(address))

    for connection in waiting:
        connection.close()
    until(lambda: meter.left == 2)
    engine.steps.release(1)
    until(lambda: engine.done == 1)

    assert engine.under_way == 0


def test_several_clients_are_streamed_to_at_once(loaded: Loaded) -> None:
    task = task_for(loaded)
    assert isinstance(task, TextGeneration)
    engine = Gated(task)
    task.engine = engine
    with serving(Pipeline(task)) as (address, _, _):
        asked = {"inputs": "the fox", "parameters": {"max_new_tokens": 5}, "stream": True}
        connections = [connected(address, asked) for _ in range(4)]
        until(lambda: engine.submitted == 4)
        engine.steps.release(1)
        first = [connection.getresponse() for connection in connections]
        begun = [answer.readline() for answer in first]
        together = engine.under_way
        engine.steps.release(20)
        rest = [answer.read() for answer in first]
        for connection in connections:
            connection.close()

    # All have their first token, and none its second.
    assert together == 4
    assert len(set(begun)) == 1
    assert len(set(rest)) == 1
    assert rest[0].count(b"data:") == 4
