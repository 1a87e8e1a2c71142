"""Routes for SageMaker and for clients, and /metrics for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import functools
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from inference.decoders import TokenEvent
from inference.decoders.task import TextGeneration
from inference.errors import RecordInvalid, TooLong
from inference.records import requests
from inference.records.json_lines import dump_line, split_lines
from inference.serving import HostFailed, ModelHost
from inference.serving.bodies import SMALL_BODY_BYTES, Bodies, Body, BodyRefused
from inference.serving.formats import SSE_TYPE, dump
from inference.serving.forms import Form, OwnForm, json_response, problem
from inference.serving.meter import Meter
from inference.serving.openai_api import OpenAiForm, is_openai, models
from inference.serving.settings import CUSTOM_ATTRIBUTES, JSON_LINES, Hosting
from inference.serving.tgi_api import TgiForm, info
from inference.tasks.pipeline import Begun, Pipeline
from inference.tasks.tasks import TextToText
from promotion.errors import Invalid

LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl", "application/x-jsonlines")
TEXT = ("application/x-text", "text/plain")
# Existing notebooks request text/csv and read JSON Lines from the answer, so text/csv gets JSON Lines.
ACCEPTED = ("application/json", *LINES, "text/csv")

log = logging.getLogger("inference")
Result = TypeVar("Result")


class Serving(Protocol):
    """The served model, as seen by the routes."""

    @property
    def pipeline(self) -> Pipeline | None:
        """The loaded pipeline; None until the model is loaded."""

    @property
    def host(self) -> ModelHost | None:
        """The host that answers requests; None until the model is loaded."""


class App:
    """The routes of a server, and their shared state."""

    def __init__(self, model: Serving, hosting: Hosting, meter: Meter) -> None:
        """Make the routes of a server.

        Args:
            model: The model, which may still be loading.
            hosting: Limits and time-outs.
            meter: Counters for /metrics.
        """
        self._model, self._hosting, self._meter = model, hosting, meter
        self._inside = 0
        self._bodies = Bodies(readers=hosting.most_requests)
        self._started = int(time.time())

    def routes(self) -> Starlette:
        """Return the ASGI application with its routes."""
        told = {
            "/ping": self.ping,
            "/health": self.ping,
            "/execution-parameters": self.execution_parameters,
            "/metrics": self.metrics,
            "/info": self.info,
            "/v1/models": self.models,
        }
        asked = ("/invocations", "/", "/generate", "/generate_stream", "/v1/chat/completions", "/v1/completions")
        return Starlette(
            routes=[
                *(Route(path, answer, methods=["GET"]) for path, answer in told.items()),
                *(Route(path, self.invocations, methods=["POST"]) for path in asked),
            ]
        )

    def close(self) -> None:
        """Start to close, when the server is being stopped; call on the event loop."""
        self._bodies.close()

    async def ping(self, request: Request) -> Response:
        """GET /ping and /health: 200 once the model is loaded and its host alive, else 503."""
        ready = self._model.pipeline is not None and self._model.host is not None and self._model.host.alive
        return Response(status_code=200 if ready else 503)

    async def execution_parameters(self, request: Request) -> Response:
        """GET /execution-parameters: settings that SageMaker Batch Transform reads."""
        return JSONResponse({"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: counters in Prometheus' text format."""
        return Response(self._meter.text(self._inside), media_type="text/plain; version=0.0.4")

    async def info(self, request: Request) -> Response:
        """GET /info, as in TGI: the model and its limits."""
        pipeline = self._model.pipeline
        if pipeline is None:
            return problem(503, "The model is still loading.", "overloaded", {"Retry-After": "1"})
        limits = pipeline.task.limits if isinstance(pipeline.task, TextGeneration) else None
        return json_response(info(pipeline, limits, self._hosting.most_requests))

    async def models(self, request: Request) -> Response:
        """GET /v1/models: OpenAI's list of models, with the one model."""
        pipeline = self._model.pipeline
        if pipeline is None:
            return problem(503, "The model is still loading.", "overloaded", {"Retry-After": "1"}, openai=True)
        return json_response(models(pipeline.approval_id or "model", self._started))

    async def invocations(self, request: Request) -> Response:
        """Answer a request if it is admitted, and count it in any case."""
        started = time.perf_counter()
        response = await self._let_in(request)
        self._meter.done(response.status_code, time.perf_counter() - started)
        return response

    async def _let_in(self, request: Request) -> Response:
        said = functools.partial(problem, openai=request.url.path.startswith("/v1/"))
        pipeline, host = self._model.pipeline, self._model.host
        if pipeline is None or host is None:
            return said(503, "The model is still loading.", "overloaded", {"Retry-After": "1"})
        missing = self._hosting.eula_missing(request.headers.get(CUSTOM_ATTRIBUTES, ""))
        if missing:
            return said(403, missing, "eula")
        declared = request.headers.get("content-length", "")
        full = self._full(int(declared) if declared.isdecimal() else 0)
        if full:
            return said(429, *full)
        try:
            body = await self._bodies.read(request)
        except BodyRefused as error:
            return self._refused(error, said)
        except ClientDisconnect:
            return Response(status_code=499)
        full = self._full(len(body.content))
        if full:
            self._bodies.release(body)
            return said(429, *full)
        size = _places(len(body.content))
        self._inside += size
        leave = _Once(lambda: self._leave(size, body))
        response = None
        try:
            response = await self._answered(request, body.content, pipeline, host, leave)
        except Invalid as error:
            field = error.field
            response = said(422 if isinstance(error, TooLong) else 400, str(error), "validation", field=field)
        except HostFailed as error:
            response = said(500, str(error), "generation")
        except ClientDisconnect:
            self._meter.gone()
            # The client has disconnected.
            response = Response(status_code=499)
        finally:
            if not isinstance(response, _Stream):
                leave()
        return response

    def _full(self, length: int) -> tuple[str, str, dict[str, str]] | None:
        """Return the refusal of a body of `length` bytes if the server is full, else None."""
        if not self._inside or self._inside + _places(length) <= self._hosting.most_requests:
            return None
        seconds = str(self._meter.retry_after(self._inside))
        said = f"The server has {self._inside} requests under way, and takes no more. Come again in {seconds} s."
        return said, "overloaded", {"Retry-After": seconds}

    def _refused(self, error: BodyRefused, said: Callable[..., Response]) -> Response:
        match error.status:
            case 413:
                return said(413, str(error), "validation")
            case 408:
                return said(408, str(error), "validation", {"Connection": "close"})
        seconds = str(self._meter.retry_after(self._inside))
        return said(error.status, f"{error} Come again in {seconds} s.", "overloaded", {"Retry-After": seconds})

    def _leave(self, size: int, body: Body) -> None:
        self._inside -= size
        self._bodies.release(body)

    async def _answered(
        self, request: Request, body: bytearray, pipeline: Pipeline, host: ModelHost, leave: _Once
    ) -> Response:
        accept = _media_type(request.headers.get("accept", ""))
        kind = _media_type(request.headers.get("content-type", "")) or "application/json"
        begun = Begun()
        if kind in LINES:
            return await self._lines(request, body, pipeline, host, accept)
        if kind not in ("application/json", *TEXT):
            said = f"Content-Type {kind[:100]} is not taken; send application/json or application/jsonlines."
            return problem(415, said, "validation")
        work = functools.partial(self._parsed, request.url.path, body, kind, pipeline)
        form, asked = work() if len(body) <= SMALL_BODY_BYTES else await asyncio.to_thread(work)
        headers = {"X-Promotion-Approval": pipeline.approval_id} if pipeline.approval_id else {}
        if asked.stream:
            return await self._stream(request, form, asked, host, accept, begun, headers, leave)
        [answers] = await _unless_left(request, host.answers([asked]))
        value, run = pipeline.finish_record(asked, answers, begun)
        self._meter.tokens(run.counts.tokens_in, run.counts.tokens_out)
        log.debug("answered 1 request, %.3f s", run.counts.busy_seconds)
        value = form.whole(asked, answers, value)
        # Clients that read line by line block until a line break.
        content = (dump_line(value) if pipeline.task.literal else dump(value)) + b"\n"
        return Response(content, media_type=accept if accept in ACCEPTED else "application/json", headers=headers)

    def _parsed(
        self, path: str, body: bytearray, kind: str, pipeline: Pipeline
    ) -> tuple[Form, requests.InferenceRequest]:
        """Parse a body; Invalid names fields as the body's own format does."""
        value = _decoded(body, kind)
        form = self._form(path, value, pipeline)
        try:
            return form, pipeline.parse_record(form.record)
        except TooLong as error:
            raise TooLong(form.name_of(error.field), error.reason, error.record_id) from None
        except RecordInvalid as error:
            raise RecordInvalid(form.name_of(error.field), error.reason, error.record_id) from None

    def _form(self, path: str, value: Any, pipeline: Pipeline) -> Form:
        decodes = isinstance(pipeline.task, TextGeneration)
        if path.startswith("/v1/"):
            if not decodes:
                raise Invalid(
                    "", f"this model's task is {pipeline.task.name}, which has no such route; use /invocations."
                )
            return OpenAiForm(value, chat=path == "/v1/chat/completions", model=pipeline.approval_id or "model")
        if path == "/invocations":
            chat = is_openai(value) if decodes else None
            if chat is not None:
                return OpenAiForm(value, chat=chat, model=pipeline.approval_id or "model")
            return OwnForm(value, self._hosting.task_field if pipeline.task.name == TextToText.name else None)
        return TgiForm(value, listed=path == "/", stream={"/generate": False, "/generate_stream": True}.get(path))

    async def _lines(
        self, request: Request, body: bytearray, pipeline: Pipeline, host: ModelHost, accept: str
    ) -> Response:
        """Answer JSON Lines: one output line for each input line, also for invalid ones."""
        begun = Begun()
        parsed = await asyncio.to_thread(lambda: pipeline.parse_lines(split_lines(bytes(body))))
        good = [one for one in parsed if isinstance(one, requests.InferenceRequest)]
        answers = await _unless_left(request, host.answers(good))
        answered = await asyncio.to_thread(lambda: pipeline.finish_lines(parsed, answers, begun, stamp=True))
        counts = answered.run.counts
        self._meter.tokens(counts.tokens_in, counts.tokens_out)
        log.info("answered %d records, %d errors, %.3f s", counts.records, counts.errors, counts.busy_seconds)
        # Without a newline at the end, because AssembleWith Line adds one after each answer, and clients accept no
        # empty lines.
        content = b"\n".join(answered.lines)
        return Response(content, media_type=accept if accept in ACCEPTED else LINES[0])

    async def _stream(
        self,
        request: Request,
        form: Form,
        asked: requests.InferenceRequest,
        host: ModelHost,
        accept: str,
        begun: Begun,
        headers: dict[str, str],
        leave: _Once,
    ) -> Response:
        """Return the stream after its first event, so that an early failure still gets its own status code."""
        lines = accept in LINES or (accept != SSE_TYPE and self._hosting.stream_form == JSON_LINES)
        shown = form.events(asked, lines=lines)
        [prompt] = asked.prepared
        tokens = host.stream(asked)
        try:
            first: TokenEvent = await _unless_left(request, anext(tokens))
        except BaseException:
            await _closed(tokens)
            raise
        if first.error:
            await _closed(tokens)
            raise HostFailed(f"the text could not be generated: {first.error}.")
        to_first = time.perf_counter() - begun.clock
        self._meter.first(to_first)

        async def events() -> AsyncIterator[bytes]:
            number, event, whole = 1, first, False
            try:
                yield shown.event(event, number)
                while event.finish is None:
                    event = await anext(tokens)
                    number += event.id >= 0
                    told = shown.event(event, number)
                    if told:
                        yield told
                yield shown.end()
                whole = True
            finally:
                # Also if the client has disconnected, so that its place is free for the next request.
                await _closed(tokens)
                leave()
                self._meter.tokens(len(prompt.tokens), number)
                if not whole:
                    self._meter.gone()
                log.info(
                    "streamed %d tokens, first after %.3f s, all in %.3f s%s",
                    number, to_first, time.perf_counter() - begun.clock, "" if whole else ", until the client left",
                )  # fmt: skip

        kind = accept if lines and accept in LINES else shown.media_type
        return _Stream(events(), media_type=kind, headers={**headers, "Cache-Control": "no-cache"}, leave=leave)


class _Once:
    """A callback that runs at most once."""

    def __init__(self, call: Any) -> None:
        self._call: Any = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class _Stream(StreamingResponse):
    """A streaming response that releases its request even if it is never read."""

    def __init__(self, events: AsyncIterator[bytes], *, leave: _Once, **options: Any) -> None:
        super().__init__(events, **options)
        self._events, self._leave = events, leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _closed(self._events)
            self._leave()


async def _closed(stream: AsyncIterator[Any]) -> None:
    with contextlib.suppress(RuntimeError):
        await stream.aclose()  # type: ignore[attr-defined]


async def _unless_left(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of `work`; cancel it if the client disconnects.

    Raises:
        ClientDisconnect: the client disconnected.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _places(length: int) -> int:
    """Return the number of requests that a body of `length` bytes counts as."""
    return 1 + length // SMALL_BODY_BYTES


def _decoded(body: bytearray, kind: str) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise RecordInvalid("", f"the request is not UTF-8: byte {error.start}.") from None
    if kind in TEXT:
        return {"inputs": text}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RecordInvalid("", "the request is not JSON.") from None


def _media_type(header: str) -> str:
    first = next(csv.reader([header]), [""])[0] if header else ""
    media = first.split(";")[0].strip().lower()
    return "" if media == "*/*" else media
