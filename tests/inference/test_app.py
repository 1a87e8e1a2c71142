"""Routes without sockets: a model that is still loading, a body that doesn't come, and a model that fails."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from inference.records.requests import InferenceRequest
from inference.serving import HostFailed, app
from inference.serving.app import App
from inference.serving.batcher import Batcher
from inference.serving.bodies import SMALL_BODY_BYTES, Bodies
from inference.serving.meter import Meter
from inference.serving.settings import Hosting
from inference.tasks.pipeline import Pipeline
from inference.tasks.tasks import Answer
from tests.inference.test_serve_batching import Upper, asked

DISCONNECTED = {"type": "http.disconnect"}


class Held:
    """A host that answers when it may, or fails."""

    alive = True

    def __init__(self, fails: str = "") -> None:
        self.fails, self.begun, self.may = fails, asyncio.Event(), asyncio.Event()

    async def answers(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        self.begun.set()
        if self.fails:
            raise HostFailed(self.fails)
        await self.may.wait()
        return [[Answer({"generated_texts": [text]}) for text in request.texts] for request in requests]

    def stream(self, request: InferenceRequest) -> AsyncIterator[Any]:
        raise NotImplementedError

    def run(self) -> None: ...

    def stop(self) -> None: ...


class Model:
    """A model that is loaded if it has a host."""

    def __init__(self, host: Held | None) -> None:
        self.host = host
        self.pipeline = None if host is None else Pipeline(Upper())


async def answer(
    served: App, method: str, path: str, *messages: dict[str, Any], then: Callable[[], None] | None = None
) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and body of a request whose client sends `messages`, and no more; `then` is called there."""
    waiting, sent = list(messages), list[dict[str, Any]]()

    async def receive() -> Any:
        if not waiting:
            if then is not None:
                then()
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "root_path": ""}
    await served.routes()(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(body) if body else None


def body_of(text: str) -> dict[str, Any]:
    return {"type": "http.request", "body": json.dumps({"inputs": text}).encode(), "more_body": False}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/info"), ("GET", "/v1/models"), ("POST", "/invocations"), ("POST", "/v1/completions")]
)
def test_while_the_model_loads_clients_are_told_to_come_again(method: str, path: str) -> None:
    served = App(Model(None), Hosting(), Meter())
    status, headers, said = asyncio.run(answer(served, method, path, body_of("fox")))
    assert (status, headers["retry-after"]) == (503, "1")
    told = said["error"]["message"] if path.startswith("/v1/") else said["error"]
    assert told == "The model is still loading."


def test_a_request_whose_client_leaves_within_its_body_reaches_no_model() -> None:
    async def left() -> tuple[int, bool]:
        host = Held()
        half = {"type": "http.request", "body": b'{"inputs"', "more_body": True}
        served = App(Model(host), Hosting(), Meter())
        status, _, _ = await answer(served, "POST", "/invocations", half, DISCONNECTED)
        return status, host.begun.is_set()

    assert asyncio.run(left()) == (499, False)


@pytest.mark.parametrize(("behind", "status"), [([], 200), ([DISCONNECTED], 499)])
def test_only_a_disconnection_behind_the_body_ends_a_request(behind: list[dict[str, Any]], status: int) -> None:
    empty = {"type": "http.request", "body": b"", "more_body": False}

    async def asked_for() -> int:
        host = Held()
        served = App(Model(host), Hosting(), Meter())
        found, _, _ = await answer(served, "POST", "/invocations", body_of("fox"), empty, *behind, then=host.may.set)
        return found

    assert asyncio.run(asked_for()) == status


def test_a_body_without_a_length_counts_by_its_bytes_once_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # Memory for one large body, so that the second one is read only after the first one was released.
    monkeypatch.setattr(app, "Bodies", functools.partial(Bodies, most=SMALL_BODY_BYTES * 3 // 2))

    async def crowd() -> list[int]:
        host = Held()
        served = App(Model(host), Hosting(most_requests=2), Meter())
        first = asyncio.ensure_future(answer(served, "POST", "/invocations", body_of("fox")))
        await host.begun.wait()
        for _ in range(2):
            large, _, said = await answer(served, "POST", "/invocations", body_of("x" * SMALL_BODY_BYTES))
            assert "has 1 requests under way" in said["error"]
        host.may.set()
        small, _, _ = await answer(served, "POST", "/invocations", body_of("dog"))
        return [large, small, (await first)[0]]

    assert asyncio.run(crowd()) == [429, 200, 200]


def test_a_body_that_does_not_come_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "Bodies", functools.partial(Bodies, patience=0.0))

    async def waited() -> tuple[int, dict[str, str], Any]:
        served = App(Model(Held()), Hosting(), Meter())
        return await answer(served, "POST", "/invocations")

    status, headers, said = asyncio.run(waited())
    assert (status, headers["connection"]) == (408, "close")
    assert said["error"].startswith("The request did not come within 0 s.")


def test_a_model_that_fails_is_an_error_of_generation() -> None:
    async def failed() -> tuple[int, dict[str, str], Any]:
        served = App(Model(Held(fails="the model fails on it.")), Hosting(), Meter())
        return await answer(served, "POST", "/invocations", body_of("fox"))

    status, _, said = asyncio.run(failed())
    assert (status, said["error"], said["error_type"]) == (500, "the model fails on it.", "generation")


def test_a_model_that_does_not_stream_refuses_to() -> None:
    with pytest.raises(HostFailed, match="does not stream"):
        Batcher(Upper(), Meter()).stream(asked("fox")[0])
