"""The container's side of SageMaker's hosting and batch transform contract, on one port.

Requests are answered one at a time by one thread that owns the model; what is asked meanwhile waits its turn.
"""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inference.errors import HyperParametersInvalid, RecordInvalid
from inference.lines import dump_line, split_lines
from inference.pipeline import Pipeline
from promotion.errors import IntegrityError, PromotionError

# The most that SageMaker sends in one transform request.
LARGEST_BODY_BYTES = 100 << 20
DRAIN_SECONDS = 25  # of the 30 that SageMaker leaves between SIGTERM and SIGKILL
LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl", "application/x-jsonlines")
TEXT = ("application/x-text", "text/plain")
# Existing notebooks ask for text/csv and read JSON Lines from it line by line: that is what they get.
ACCEPTED = ("application/json", *LINES, "text/csv")

EXIT_TROUBLE, EXIT_USAGE, EXIT_INTEGRITY = 1, 2, 4

log = logging.getLogger("inference")


@dataclass
class Model:
    """The pipeline, once it is loaded; `exit_code` says how it ended where it could not be."""

    load: Callable[[], Pipeline]
    pipeline: Pipeline | None = None
    exit_code: int = 0
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="model"))

    def prepare(self) -> None:
        """Load, once, on the thread that will answer."""
        try:
            self.pipeline = self.load()
        except IntegrityError as error:
            log.error("refused: %s", error)
            self.exit_code = EXIT_INTEGRITY
        except HyperParametersInvalid as error:
            log.error("%s", error)
            self.exit_code = EXIT_USAGE
        except PromotionError as error:
            log.error("%s", error)
            self.exit_code = EXIT_TROUBLE
        except Exception:
            log.exception("the model does not load")
            self.exit_code = EXIT_TROUBLE


def application(model: Model) -> Starlette:
    """The three routes that SageMaker calls."""

    async def ping(request: Request) -> Response:
        return Response(status_code=200 if model.pipeline else 503)

    async def execution_parameters(request: Request) -> Response:
        return JSONResponse({"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6})

    async def invocations(request: Request) -> Response:
        if model.pipeline is None:
            return _problem(503, "The model is still loading.", {"Retry-After": "1"})
        accept = _media_type(request.headers.get("accept", ""))
        try:
            body = await _body(request)
        except _BodyTooLargeError:
            return _problem(413, f"The request is larger than {LARGEST_BODY_BYTES >> 20} MB.")
        except ClientDisconnect:
            return Response(status_code=400)
        kind = _media_type(request.headers.get("content-type", "")) or "application/json"
        loop = asyncio.get_running_loop()
        if kind in LINES:
            answered = await loop.run_in_executor(
                model.worker, lambda: _pipeline(model).answer_lines(split_lines(body), stamp=True)
            )
            counts = answered.run.counts
            log.info("answered %d records, %d errors, %.3f s", counts.records, counts.errors, counts.busy_seconds)
            content = b"".join(line + b"\n" for line in answered.lines)
            return Response(content, media_type=accept if accept in ACCEPTED else LINES[0])
        if kind not in ("application/json", *TEXT):
            return _problem(
                415, f"Content-Type {kind[:100]} is not taken; send application/json or application/jsonlines."
            )
        try:
            value, run = await loop.run_in_executor(
                model.worker, lambda: _pipeline(model).answer_record(_decoded(body, kind))
            )
        except RecordInvalid as error:
            return _problem(400, str(error))
        log.info("answered 1 request, %.3f s", run.counts.busy_seconds)
        headers = {"X-Promotion-Approval": model.pipeline.approval_id} if model.pipeline.approval_id else {}
        return Response(
            dump_line(value), media_type=accept if accept in ACCEPTED else "application/json", headers=headers
        )

    return Starlette(
        routes=[
            Route("/ping", ping, methods=["GET"]),
            Route("/execution-parameters", execution_parameters, methods=["GET"]),
            Route("/invocations", invocations, methods=["POST"]),
        ]
    )


def serve(load: Callable[[], Pipeline], *, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT, then finish what was begun. Returns the process's exit code."""
    model = Model(load)
    config = uvicorn.Config(
        application(model),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal again once it has drained; a drained server has ended well.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}

    def prepare() -> None:
        model.prepare()
        if model.exit_code:
            server.should_exit = True
        else:
            log.info("ready on %s:%d", host, port)

    model.worker.submit(prepare)
    try:
        server.run()
    except SystemExit:
        # uvicorn's way to say that the port is taken; it has logged it.
        log.error("can't serve on %s:%d", host, port)
        return EXIT_TROUBLE
    finally:
        model.worker.shutdown(wait=False, cancel_futures=True)
        for number, handler in before.items():
            signal.signal(number, handler)
    return model.exit_code


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


def _pipeline(model: Model) -> Pipeline:
    assert model.pipeline is not None
    return model.pipeline


def _media_type(header: str) -> str:
    first = next(csv.reader([header]), [""])[0] if header else ""
    media = first.split(";")[0].strip().lower()
    return "" if media == "*/*" else media


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(dump_line({"error": message}), status_code=status, media_type="application/json", headers=headers)
