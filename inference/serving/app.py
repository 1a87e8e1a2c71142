"""The routes that SageMaker calls, and one for who scrapes figures."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from inference.decoders import Piece
from inference.errors import RecordInvalid, TooLong
from inference.records import requests
from inference.records.json_lines import dump_line, split_lines
from inference.serving import Host, HostFailed
from inference.serving.formats import LINES_TYPE, SSE_TYPE, dump, json_line, server_sent
from inference.serving.meter import Meter
from inference.serving.settings import CUSTOM_ATTRIBUTES, JSON_LINES, Hosting
from inference.tasks.pipeline import Begun, Pipeline

# The most that SageMaker sends in one transform request.
LARGEST_BODY_BYTES = 100 << 20
# A body that is larger is parsed beside the event loop, and counts as more than one request.
_SMALL_BODY_BYTES = 64 << 10
LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl", "application/x-jsonlines")
TEXT = ("application/x-text", "text/plain")
# Existing notebooks ask for text/csv and read JSON Lines from it line by line: that is what they get.
ACCEPTED = ("application/json", *LINES, "text/csv")

log = logging.getLogger("inference")
Result = TypeVar("Result")


class Serving(Protocol):
    """The model as the routes see it: None of both until it is loaded."""

    @property
    def pipeline(self) -> Pipeline | None: ...

    @property
    def host(self) -> Host | None: ...


class App:
    """One server's routes and what they share."""

    def __init__(self, model: Serving, hosting: Hosting, meter: Meter) -> None:
        self._model, self._hosting, self._meter = model, hosting, meter
        self._inside = 0

    def routes(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/ping", self.ping, methods=["GET"]),
                Route("/execution-parameters", self.execution_parameters, methods=["GET"]),
                Route("/metrics", self.metrics, methods=["GET"]),
                Route("/invocations", self.invocations, methods=["POST"]),
            ]
        )

    async def ping(self, request: Request) -> Response:
        ready = self._model.pipeline is not None and self._model.host is not None and self._model.host.alive
        return Response(status_code=200 if ready else 503)

    async def execution_parameters(self, request: Request) -> Response:
        return JSONResponse({"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6})

    async def metrics(self, request: Request) -> Response:
        return Response(self._meter.text(self._inside), media_type="text/plain; version=0.0.4")

    async def invocations(self, request: Request) -> Response:
        """Let in, or told when to come again; counted, whatever comes of it."""
        started = time.perf_counter()
        response = await self._let_in(request)
        self._meter.done(response.status_code, time.perf_counter() - started)
        return response

    async def _let_in(self, request: Request) -> Response:
        pipeline, host = self._model.pipeline, self._model.host
        if pipeline is None or host is None:
            return problem(503, "The model is still loading.", "overloaded", {"Retry-After": "1"})
        missing = self._hosting.eula_missing(request.headers.get(CUSTOM_ATTRIBUTES, ""))
        if missing:
            return problem(403, missing, "eula")
        try:
            body = await _body(request)
        except _BodyTooLargeError:
            return problem(413, f"The request is larger than {LARGEST_BODY_BYTES >> 20} MB.", "validation")
        except ClientDisconnect:
            return Response(status_code=499)
        size = 1 + len(body) // _SMALL_BODY_BYTES
        if self._inside and self._inside + size > self._hosting.most_requests:
            seconds = str(self._meter.retry_after(self._inside))
            said = f"The server has {self._inside} requests under way, and takes no more. Come again in {seconds} s."
            return problem(429, said, "overloaded", {"Retry-After": seconds})
        self._inside += size
        leave = _Once(lambda: self._leave(size))
        response = None
        try:
            response = await self._answered(request, body, pipeline, host, leave)
        except RecordInvalid as error:
            response = problem(422 if isinstance(error, TooLong) else 400, str(error), "validation")
        except HostFailed as error:
            response = problem(500, str(error), "generation")
        except ClientDisconnect:
            self._meter.gone()
            # Nobody reads it.
            response = Response(status_code=499)
        finally:
            if not isinstance(response, _Stream):
                leave()
        return response

    def _leave(self, size: int) -> None:
        self._inside -= size

    async def _answered(self, request: Request, body: bytes, pipeline: Pipeline, host: Host, leave: _Once) -> Response:
        accept = _media_type(request.headers.get("accept", ""))
        kind = _media_type(request.headers.get("content-type", "")) or "application/json"
        begun = Begun()
        if kind in LINES:
            return await self._lines(request, body, pipeline, host, accept)
        if kind not in ("application/json", *TEXT):
            said = f"Content-Type {kind[:100]} is not taken; send application/json or application/jsonlines."
            return problem(415, said, "validation")
        if len(body) <= _SMALL_BODY_BYTES:
            asked = pipeline.parse_record(_decoded(body, kind))
        else:
            asked = await asyncio.to_thread(lambda: pipeline.parse_record(_decoded(body, kind)))
        headers = {"X-Promotion-Approval": pipeline.approval_id} if pipeline.approval_id else {}
        if asked.stream:
            return await self._stream(request, asked, host, accept, begun, headers, leave)
        [answers] = await _unless_left(request, host.answers([asked]))
        value, run = pipeline.finish_record(asked, answers, begun)
        self._meter.tokens(run.counts.tokens_in, run.counts.tokens_out)
        log.debug("answered 1 request, %.3f s", run.counts.busy_seconds)
        content = dump_line(value) if pipeline.task.literal else dump(value)
        return Response(content, media_type=accept if accept in ACCEPTED else "application/json", headers=headers)

    async def _lines(self, request: Request, body: bytes, pipeline: Pipeline, host: Host, accept: str) -> Response:
        """A line for each line, whatever is wrong with it."""
        begun = Begun()
        parsed = await asyncio.to_thread(lambda: pipeline.parse_lines(split_lines(body)))
        good = [one for one in parsed if isinstance(one, requests.Request)]
        answers = await _unless_left(request, host.answers(good))
        answered = await asyncio.to_thread(lambda: pipeline.finish_lines(parsed, answers, begun, stamp=True))
        counts = answered.run.counts
        self._meter.tokens(counts.tokens_in, counts.tokens_out)
        log.info("answered %d records, %d errors, %.3f s", counts.records, counts.errors, counts.busy_seconds)
        # Without a newline at the end: AssembleWith Line adds one after each answer, and clients read no empty lines.
        content = b"\n".join(answered.lines)
        return Response(content, media_type=accept if accept in ACCEPTED else LINES[0])

    async def _stream(
        self,
        request: Request,
        asked: requests.Request,
        host: Host,
        accept: str,
        begun: Begun,
        headers: dict[str, str],
        leave: _Once,
    ) -> Response:
        """The answer as it grows. The first piece is waited for, so that what fails at once has a status of its own."""
        lines = accept in LINES or (accept != SSE_TYPE and self._hosting.stream_form == JSON_LINES)
        form = json_line if lines else server_sent
        [prompt] = asked.prepared
        pieces = host.stream(asked)
        try:
            first: Piece = await _unless_left(request, anext(pieces))
        except BaseException:
            await _closed(pieces)
            raise
        if first.error:
            await _closed(pieces)
            raise HostFailed(f"the text could not be generated: {first.error}.")
        to_first = time.perf_counter() - begun.clock
        self._meter.first(to_first)

        async def events() -> AsyncIterator[bytes]:
            number, piece, whole = 1, first, False
            try:
                yield form(prompt, piece, number)
                while piece.finish is None:
                    piece = await anext(pieces)
                    number += piece.id >= 0
                    yield form(prompt, piece, number)
                whole = True
            finally:
                # Also where the client has left: it makes room for the next.
                await _closed(pieces)
                leave()
                self._meter.tokens(len(prompt.tokens), number)
                if not whole:
                    self._meter.gone()
                log.info(
                    "streamed %d tokens, first after %.3f s, all in %.3f s%s",
                    number, to_first, time.perf_counter() - begun.clock, "" if whole else ", until the client left",
                )  # fmt: skip

        kind = accept if accept in LINES else LINES_TYPE if lines else SSE_TYPE
        return _Stream(events(), media_type=kind, headers={**headers, "Cache-Control": "no-cache"}, leave=leave)


class _Once:
    """A call that is made once, whoever makes it first."""

    def __init__(self, call: Any) -> None:
        self._call: Any = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class _Stream(StreamingResponse):
    """A stream that leaves also where nobody ever read from it."""

    def __init__(self, events: AsyncIterator[bytes], *, leave: _Once, **options: Any) -> None:
        super().__init__(events, **options)
        self._events, self._leave = events, leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _closed(self._events)
            self._leave()


async def _closed(pieces: AsyncIterator[Any]) -> None:
    with contextlib.suppress(RuntimeError):
        await pieces.aclose()  # type: ignore[attr-defined]


async def _unless_left(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is cancelled where its client leaves.

    Raises:
        ClientDisconnect: nobody waits any more.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _BodyTooLargeError(Exception):
    pass


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST_BODY_BYTES:
            raise _BodyTooLargeError
        chunks.append(chunk)
    return b"".join(chunks)


def _decoded(body: bytes, kind: str) -> Any:
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


def problem(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> Response:
    """An error in TGI's form: clients tell overload from a mistake of their own by `error_type`."""
    content = dump_line({"error": message, "error_type": kind})
    return Response(content, status_code=status, media_type="application/json", headers=headers)
