"""Many clients, one model: what shares a pass, what waits, what is turned away, and who hurts whom."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from inference.engines import LEFT, Description
from inference.engines.encoder_decoder import NAME
from inference.models.loading import load
from inference.records.parameters import Generation
from inference.records.requests import InferenceRequest, generation_request
from inference.serving import HostFailed
from inference.serving.batcher import Batcher
from inference.serving.meter import Meter
from inference.serving.settings import Hosting
from inference.tasks.pipeline import Pipeline
from inference.tasks.tasks import Answer, Joining, TextToText
from promotion.errors import Invalid
from tests.inference.real_time import answer_record
from tests.inference.samples import sentences
from tests.inference.servers import serving, until


class Upper:
    """A task that shouts, and waits for leave: what is asked meanwhile has to wait its turn."""

    name = "text2text-generation"
    nothing: Mapping[str, Any] = {"generated_texts": [""]}
    literal = True
    description = Description("upper", "cpu", "none")

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.leave = threading.Event()
        self.leave.set()
        self.entered = threading.Event()

    def check_job(self, job: Mapping[str, Any]) -> None: ...

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> InferenceRequest:
        return generation_request(record, job, Generation())

    def weigh(self, request: InferenceRequest) -> int:
        return sum(map(len, request.texts))

    def answer(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        self.passes.append([request.texts[0] for request in requests])
        self.entered.set()
        assert self.leave.wait(60)
        if any("poison" in text for request in requests for text in request.texts):
            raise RuntimeError("the model breaks")
        return [[Answer({"generated_texts": [text.upper()]}) for text in request.texts] for request in requests]

    def real_time(self, request: InferenceRequest, bodies: list[dict[str, Any]]) -> Any:
        return bodies if request.many else bodies[0]

    def line(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(fields)

    def hold(self) -> None:
        """Let nobody through until `leave` is set again."""
        self.leave.clear()
        self.entered.clear()


def asked(*texts: str) -> list[InferenceRequest]:
    return [generation_request({"inputs": text}, None, Generation()) for text in texts]


@contextmanager
def running(task: Upper, **options: Any) -> Iterator[Batcher]:
    batcher = Batcher(task, Meter(), **options)
    thread = threading.Thread(target=batcher.run, daemon=True)
    thread.start()
    try:
        yield batcher
    finally:
        task.leave.set()
        batcher.stop()
        thread.join(60)
        assert not thread.is_alive()


async def answered(batcher: Batcher, *texts: str) -> list[str]:
    return [answers[0].fields["generated_texts"][0] for answers in await batcher.answers(asked(*texts))]


def figures(address: str) -> str:
    return httpx.get(f"{address}/metrics", timeout=60).text


async def entered(task: Upper) -> None:
    assert await asyncio.to_thread(task.entered.wait, 60)


def test_requests_during_a_pass_share_the_next_one() -> None:
    task = Upper()

    async def clients(batcher: Batcher) -> list[list[str]]:
        task.hold()
        first = asyncio.ensure_future(answered(batcher, "first"))
        await entered(task)
        others = [asyncio.ensure_future(answered(batcher, f"other {number}")) for number in range(5)]
        await asyncio.sleep(0)
        task.leave.set()
        return await asyncio.gather(first, *others)

    with running(task) as batcher:
        found = asyncio.run(clients(batcher))

    assert found == [["FIRST"], *([f"OTHER {number}"] for number in range(5))]
    assert task.passes == [["first"], [f"other {number}" for number in range(5)]]


def test_a_pass_keeps_to_the_budget_of_tokens_and_takes_clients_in_turn() -> None:
    task = Upper()

    async def clients(batcher: Batcher) -> None:
        task.hold()
        first = asyncio.ensure_future(answered(batcher, "first"))
        await entered(task)
        many = asyncio.ensure_future(answered(batcher, *[f"many {number}" for number in range(6)]))
        await asyncio.sleep(0)
        one = asyncio.ensure_future(answered(batcher, "single"))
        await asyncio.sleep(0)
        task.leave.set()
        assert await one == ["SINGLE"]
        assert await many == [f"MANY {number}" for number in range(6)]
        await first

    with running(task, tokens=20) as batcher:
        asyncio.run(clients(batcher))

    # Of 18 characters: the one who came second isn't behind the six of the first.
    assert task.passes[1] == ["many 0", "single", "many 1"]
    assert all(sum(map(len, texts)) <= 20 for texts in task.passes)


def test_one_who_is_alone_waits_for_nobody_longer_than_the_bound() -> None:
    task = Upper()

    async def clients(batcher: Batcher) -> list[str]:
        return [text for number in range(3) for text in await answered(batcher, f"x{number}")]

    # With nobody else lately there is no waiting at all: a bound of an hour would show.
    with running(task, delay_ms=3_600_000) as batcher:
        assert asyncio.run(clients(batcher)) == ["X0", "X1", "X2"]


def test_company_is_waited_for_where_there_was_some_and_not_beyond_the_bound() -> None:
    task = Upper()

    async def clients(batcher: Batcher) -> list[str]:
        await asyncio.gather(*(answered(batcher, f"x{number}") for number in range(4)))
        return await answered(batcher, "late")

    with running(task, delay_ms=30) as batcher:
        assert asyncio.run(clients(batcher)) == ["LATE"]


def test_a_request_that_breaks_the_model_fails_alone() -> None:
    task = Upper()

    async def clients(batcher: Batcher) -> list[Any]:
        task.hold()
        first = asyncio.ensure_future(answered(batcher, "first"))
        await entered(task)
        others = [asyncio.ensure_future(answered(batcher, text)) for text in ("a", "poison", "b")]
        await asyncio.sleep(0)
        task.leave.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    with running(task) as batcher:
        found = asyncio.run(clients(batcher))

    assert [found[0], found[1], found[3]] == [["FIRST"], ["A"], ["B"]]
    assert isinstance(found[2], HostFailed)


def test_a_line_that_breaks_the_model_gets_its_error_and_the_others_their_answers() -> None:
    body = b"".join(
        json.dumps({"id": n, "inputs": text}).encode() + b"\n" for n, text in enumerate(["a", "poison", "b"])
    )

    with serving(Pipeline(Upper())) as (address, _, _):
        kind = {"content-type": "application/jsonlines"}
        lines = httpx.post(f"{address}/invocations", content=body, headers=kind, timeout=60).text.splitlines()

    found = [json.loads(line) for line in lines]
    assert [one.get("generated_texts") for one in found] == [["A"], [""], ["B"]]
    assert found[1]["error"] == "record 1: the model fails on this request: RuntimeError."


def test_one_who_leaves_while_queued_costs_no_pass() -> None:
    task = Upper()

    async def clients(batcher: Batcher) -> None:
        task.hold()
        first = asyncio.ensure_future(answered(batcher, "first"))
        await entered(task)
        leaving = asyncio.ensure_future(answered(batcher, "leaving"))
        staying = asyncio.ensure_future(answered(batcher, "staying"))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        task.leave.set()
        assert (await first, await staying) == (["FIRST"], ["STAYING"])

    with running(task) as batcher:
        asyncio.run(clients(batcher))

    assert task.passes == [["first"], ["staying"]]


def test_a_connection_that_is_dropped_frees_its_place() -> None:
    task = Upper()
    body = json.dumps({"inputs": "leaving"}).encode()
    raw = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    with serving(Pipeline(task), Hosting(most_requests=2)) as (address, _, meter), ThreadPoolExecutor(2) as clients:
        task.hold()
        first = clients.submit(httpx.post, f"{address}/invocations", json={"inputs": "first"}, timeout=60)
        assert task.entered.wait(60)
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as dropped:
            dropped.sendall(raw)
            until(lambda: "requests_open 2" in figures(address))
            assert httpx.post(f"{address}/invocations", json={"inputs": "x"}, timeout=60).status_code == 429
        until(lambda: meter.left == 1)
        second = clients.submit(httpx.post, f"{address}/invocations", json={"inputs": "second"}, timeout=60)
        until(lambda: "requests_open 2" in figures(address))
        task.leave.set()

        assert [each.result().status_code for each in (first, second)] == [200, 200]

    assert task.passes == [["first"], ["second"]]


def test_past_the_bound_callers_are_told_when_to_come_again() -> None:
    task = Upper()

    with serving(Pipeline(task), Hosting(most_requests=3)) as (address, _, _), ThreadPoolExecutor(3) as clients:
        task.hold()
        inside = [
            clients.submit(httpx.post, f"{address}/invocations", json={"inputs": f"x{n}"}, timeout=60) for n in range(3)
        ]
        until(lambda: "requests_open 3" in figures(address))

        refused = httpx.post(f"{address}/invocations", json={"inputs": "late"}, timeout=60)
        pinged = httpx.get(f"{address}/ping", timeout=60).status_code
        task.leave.set()

        assert (refused.status_code, refused.json()["error_type"]) == (429, "overloaded")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert pinged == 200
        assert [each.result().json()["generated_texts"] for each in inside] == [["X0"], ["X1"], ["X2"]]


def test_a_transform_jobs_payload_is_answered_in_one_piece() -> None:
    task = Upper()
    body = b"".join(b'{"inputs": "line %d"}\n' % number for number in range(40))
    kind = {"content-type": "application/jsonlines"}

    with serving(Pipeline(task), Hosting.of({"SAGEMAKER_BATCH": "true", "MAX_BATCH_TOTAL_TOKENS": "8"})) as (
        address,
        _,
        _,
    ):
        found = httpx.post(f"{address}/invocations", content=body, headers=kind, timeout=60).text.splitlines()

    assert [json.loads(line)["generated_texts"] for line in found] == [[f"LINE {number}"] for number in range(40)]
    assert [len(texts) for texts in task.passes] == [40]


def test_answers_do_not_depend_on_who_asks_at_the_same_time(t5_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences(24, longest=20)
    records = [
        {"inputs": text, "max_length": 12, "do_sample": bool(number % 2), "temperature": 1.5, "seed": number}
        for number, text in enumerate(texts)
    ]
    task = TextToText(load(t5_folder))
    pipeline = Pipeline(task)
    alone = [answer_record(pipeline, record)[0] for record in records]
    flow, together = task.flow, threading.Event()

    def held(requests: Sequence[InferenceRequest], joining: Joining) -> Iterator[tuple[int, list[Answer]]]:
        """Begins once all clients are inside: else the first may be answered before the second has come."""
        assert together.wait(60)
        return flow(requests, joining)

    monkeypatch.setattr(task, "flow", held)
    with serving(pipeline) as (address, _, meter), ThreadPoolExecutor(12) as clients:
        found = clients.map(
            lambda record: httpx.post(f"{address}/invocations", json=record, timeout=60).json(), records
        )
        until(lambda: "requests_open 12" in figures(address))
        together.set()

        assert list(found) == alone

    assert meter.passes < meter.passed == len(records)


def test_a_text_nobody_waits_for_takes_no_more_steps(t5_folder: Path) -> None:
    loaded = load(t5_folder)
    task = TextToText(loaded)
    assert task.description.name == NAME
    gone, stays = (task.parse({"inputs": text, "max_new_tokens": 12}, None) for text in ("the fox", "a lazy dog"))
    wanted = task.answer([stays])
    gone.cancel_token.cancelled = True

    left, stayed = task.answer([gone, stays])

    assert left[0].error == LEFT
    assert left[0].tokens_out == 0
    assert stayed[0].fields == wanted[0][0].fields


def test_a_stopped_server_tells_those_who_wait() -> None:
    task = Upper()

    async def clients(batcher: Batcher) -> list[Any]:
        task.hold()
        waiting = [asyncio.ensure_future(answered(batcher, "first"))]
        await entered(task)
        waiting.append(asyncio.ensure_future(answered(batcher, "second")))
        await asyncio.sleep(0)
        batcher.stop()
        task.leave.set()
        late = await asyncio.gather(answered(batcher, "late"), return_exceptions=True)
        return [*await asyncio.gather(*waiting, return_exceptions=True), *late]

    with running(task) as batcher:
        found = asyncio.run(clients(batcher))

    assert [str(one) for one in found[1:]] == ["the server is being stopped."] * 2


def test_figures_are_there_to_be_scraped() -> None:
    with serving(Pipeline(Upper())) as (address, _, _):
        httpx.post(f"{address}/invocations", json={"inputs": "x"}, timeout=60)
        httpx.post(f"{address}/invocations", content=b"{", timeout=60)
        text = figures(address)

    assert 'inference_requests_total{status="200"} 1\n' in text
    assert 'inference_requests_total{status="400"} 1\n' in text
    assert "inference_latency_ms_count 1\n" in text


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"MAX_CONCURRENT_REQUESTS": "none"}, "MAX_CONCURRENT_REQUESTS"),
        ({"MAX_BATCH_DELAY_MS": "-1"}, "MAX_BATCH_DELAY_MS"),
        ({"OPTION_OUTPUT_FORMATTER": "xml"}, "OPTION_OUTPUT_FORMATTER"),
    ],
    ids=str,
)
def test_wrong_settings_of_hosting_are_refused(environment: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        Hosting.of(environment)

    assert refused.value.field == field


def test_requests_are_parsed_by_httptools() -> None:
    """In Python it takes half of the event loop's time, and the model waits for the interpreter's lock meanwhile."""
    assert AutoHTTPProtocol.__name__ == "HttpToolsProtocol"
