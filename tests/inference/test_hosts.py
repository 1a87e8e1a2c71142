"""The model's thread and the host of a decoder: what breaks, what is stopped, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inference.decoders import GenerationRequest, RequestHandle, TokenEvent
from inference.decoders.settings import Decoding
from inference.decoders.task import TextGeneration
from inference.records.requests import InferenceRequest
from inference.serving import serve
from inference.serving.meter import Meter
from inference.serving.serve import EXIT_TROUBLE, Model
from inference.serving.settings import Hosting
from inference.serving.steps import StepHost
from inference.tasks.pipeline import Pipeline


class Host:
    """A host whose thread ends at once, by an error or without one, or once it is stopped."""

    def __init__(self, error: Exception | None = None, *, waits: bool = False) -> None:
        self.error, self.waits, self.stops, self.stopped = error, waits, 0, Event()

    def run(self) -> None:
        if self.error is not None:
            raise self.error
        assert not self.waits or self.stopped.wait(60)

    def stop(self) -> None:
        self.stops += 1
        self.stopped.set()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Host], Model]:
    """Return a function that makes a model with a given host."""

    def made(host: Host) -> Model:
        monkeypatch.setattr(serve, "host_of", lambda *_: host)
        return Model(lambda: cast(Pipeline, object()), Hosting(), Meter())

    return made


def test_a_model_that_breaks_while_it_loads_ends_the_server_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> Pipeline:
        raise ZeroDivisionError("no weights")

    model = Model(load, Hosting(), Meter())
    model.prepare()
    assert (model.exit_code, model.host, model.pipeline) == (EXIT_TROUBLE, None, None)
    assert "ZeroDivisionError: no weights" in caplog.text


@pytest.mark.parametrize("error", [ZeroDivisionError("no memory"), None])
def test_a_thread_that_ends_by_itself_fails_the_waiting_requests_and_the_server(
    error: Exception | None, model: Callable[[Host], Model], caplog: pytest.LogCaptureFixture
) -> None:
    host, ready, ended = Host(error), Event(), Event()
    serving = model(host)
    serving.start(ready=ready.set, ended=ended.set)
    assert ended.wait(60)
    assert ready.is_set()
    assert (host.stops, serving.exit_code) == (1, EXIT_TROUBLE)
    assert ("ZeroDivisionError: no memory" in caplog.text) == (error is not None)


def test_requests_that_wait_at_the_end_are_failed_without_an_error_of_the_server(
    model: Callable[[Host], Model],
) -> None:
    host, ready, ended = Host(waits=True), Event(), Event()
    serving = model(host)
    serving.give_up()
    assert host.stops == 0
    serving.start(ready=ready.set, ended=ended.set)
    assert ready.wait(60)
    serving.give_up()
    assert ended.wait(60)
    assert (host.stops, serving.exit_code) == (1, 0)


class Engine:
    """An engine that keeps what it is given."""

    alive = True

    def __init__(self) -> None:
        self.handles: list[RequestHandle] = []

    def submit(self, handle: RequestHandle) -> None:
        self.handles.append(handle)


def host_with(engine: Engine) -> StepHost:
    return StepHost(cast(TextGeneration, SimpleNamespace(engine=engine)), Meter())


def request() -> InferenceRequest:
    prompt = GenerationRequest("fox", (1,), Decoding(max_new_tokens=2), 1)
    return cast(InferenceRequest, SimpleNamespace(prepared=[prompt], chat=False))


def event(finish: str | None) -> TokenEvent:
    return TokenEvent(5, "x", 0.0, False, finish)


def test_no_requests_get_no_answers() -> None:
    engine = Engine()
    assert asyncio.run(host_with(engine).answers([])) == []
    assert engine.handles == []


def test_a_stream_ends_after_its_last_event() -> None:
    engine = Engine()

    async def read() -> list[TokenEvent]:
        found: list[TokenEvent] = []
        stream = host_with(engine).stream(request())
        waiting: Any = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        for each in (event(None), event("length"), event(None)):
            engine.handles[0].emit(each)
        found.append(await waiting)
        found.extend([each async for each in stream])
        return found

    assert asyncio.run(read()) == [event(None), event("length")]


def test_a_stopped_host_fails_and_cancels_open_requests() -> None:
    engine = Engine()

    async def read() -> TokenEvent:
        host = host_with(engine)
        waiting: Any = asyncio.ensure_future(anext(host.stream(request())))
        await asyncio.sleep(0)
        host.stop()
        # Before the stream closes, which cancels too.
        assert engine.handles[0].left
        assert not host.alive
        found: TokenEvent = await waiting
        return found

    last = asyncio.run(read())
    assert (last.finish, last.error) == ("error", "the server is being stopped")
