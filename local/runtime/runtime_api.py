"""The Lambda Runtime API (2018-06-01) that awslambdaric talks to: one small server for each function process."""

from __future__ import annotations

import http.server
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from local.http_server import HttpServer


@dataclass
class Invocation:
    """One event for one process, and its result.

    `began` is the time.monotonic at which the process took it; `error` is None, or the kind of failure.
    """

    payload: bytes
    function_arn: str
    timeout_seconds: float
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answer: bytes = b""
    error: str | None = None
    began: float | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def finish(self, answer: bytes, error: str | None) -> None:
        if not self.done.is_set():
            self.answer, self.error = answer, error
            self.done.set()


class RuntimeApi:
    """Serve invocations one at a time, as AWS does to one execution environment."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Invocation] = queue.Queue()
        self._current: dict[str, Invocation] = {}
        self.ready = threading.Event()
        self.init_error: bytes | None = None
        self._server = HttpServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def offer(self, invocation: Invocation) -> None:
        self._waiting.put(invocation)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(api: RuntimeApi) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805 the handler has a self of its own
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                api.ready.set()
                invocation = api._waiting.get()
                api._current[invocation.request_id] = invocation
                invocation.began = time.monotonic()
                deadline_ms = int((time.time() + invocation.timeout_seconds) * 1000)
                self._answer(
                    200,
                    invocation.payload,
                    {
                        "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                        "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                        "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
                    },
                )

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:
                    # The process was killed as it answered.
                    self.close_connection = True
                    return
                *_, request_id, kind = self.path.split("/")
                if self.path.endswith("/init/error"):
                    api.init_error = body
                elif (invocation := api._current.pop(request_id, None)) is not None:
                    invocation.finish(body, "Unhandled" if kind == "error" else None)
                self._answer(202, b"{}", {})

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {
                    **headers,
                    "Content-Type": "application/json",
                    "Content-Length": str(len(body)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Log nothing, because the functions write their own logs."""

        return Handler
