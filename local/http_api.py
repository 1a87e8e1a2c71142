"""The HTTP API on its port: the template's routes, and the local service's own pages under /_local/."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import time_machine

from local import ACCOUNT, REGION
from local.aws import access, sigv4
from local.aws.callers import Caller
from local.aws.needs import Need
from local.aws.sigv4 import SignatureInvalid
from local.deployment import Deployment, Route
from local.http_server import HttpServer
from local.payload import IncomingRequest, Response, event, match, message, response

log = logging.getLogger("local.http")
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
_LARGEST_HEADERS = 10_240
_LARGEST_BODY = 10 * 1024 * 1024
_INTEGRATION_SECONDS = 30.0

# The local service's own answer to a request; None if it has none.
Own = Callable[[IncomingRequest], Response | None]


class HttpApi:
    """Answer requests like API Gateway for this deployment, each in its own thread."""

    def __init__(self, deployment: Deployment, own: Own, healthy: Callable[[], str | None]) -> None:
        self._deployment = deployment
        self._own = own
        self._healthy = healthy
        self._server: HttpServer | None = None

    def start(self, port: int) -> None:
        self._server = HttpServer(("127.0.0.1", port), _handler(self))
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True
        ).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def answer(self, request: IncomingRequest) -> Response:
        own = self._own(request) if request.path.startswith("/_local/") else None
        if own is not None:
            return own
        if request.path == "/healthz" and (trouble := self._healthy()) is not None:
            return message(503, trouble)
        found = match(self._deployment.routes, request.method, request.path)
        if found is None:
            return message(404, "Not Found")
        route, parameters = found
        caller = None
        if route.authorization == "AWS_IAM":
            try:
                caller = self._signer(request)
            except (SignatureInvalid, PermissionError) as refused:
                log.info("403 %s %s: %s", request.method, request.path, refused)
                return message(403, "Forbidden")
        return self._invoke(route, event(request, f"{route.method} {route.path}", parameters, self._deployment, caller))

    def _signer(self, request: IncomingRequest) -> Caller:
        real = dt.datetime.fromtimestamp(time_machine.escape_hatch.time.time(), dt.UTC)
        caller = sigv4.verify(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=dict(request.headers),
            body=request.body,
            service="execute-api",
            now=(dt.datetime.now(dt.UTC), real),
        )
        if not access.allowed(caller, Need("execute-api:Invoke", self._source(request.method, request.path))):
            raise PermissionError(f"{caller.arn} may not execute-api:Invoke {request.method} {request.path}")
        return caller

    def _source(self, method: str, path: str) -> str:
        api = self._deployment
        return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api.api_id}/{api.api_stage}/{method}{path}"

    def _invoke(self, route: Route, made: dict[str, Any]) -> Response:
        function = self._deployment.function(route.function_arn)
        source = self._source(made["requestContext"]["http"]["method"], route.path)
        if function is None or not self._deployment.may_invoke(
            "apigateway.amazonaws.com", source, function.settings.arn
        ):
            log.error("%s: API Gateway may not invoke %s", made["routeKey"], route.function_arn)
            return message(500, "Internal Server Error")
        outcome = function.invoke(json.dumps(made).encode())
        if outcome.seconds > _INTEGRATION_SECONDS:
            return message(503, "Service Unavailable")
        return message(500, "Internal Server Error") if outcome.error is not None else response(outcome.payload)


def _handler(api: HttpApi) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "local"
        sys_version = ""
        timeout = 75

        def _serve(self) -> None:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            size = len(self.requestline) + sum(len(name) + len(value) + 4 for name, value in self.headers.items())
            if size > _LARGEST_HEADERS:
                self.close_connection = True
                self._send(message(431, "Request Header Fields Too Large"))
                return
            body = self._body()
            if body is None:
                self.close_connection = True
                self._send(message(413, "Request Entity Too Large"))
                return
            request = IncomingRequest(
                method=self.command,
                target=self.path,
                headers=[(name.lower(), value) for name, value in self.headers.items()],
                body=body,
                source_ip=self.client_address[0],
            )
            try:
                answer = api.answer(request)
            except Exception:
                log.exception("%s %s broke", self.command, request.path)
                answer = message(500, "Internal Server Error")
            self._send(answer)

        def _body(self) -> bytes | None:
            """Return the request's body; None if it is larger than API Gateway accepts."""
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                whole = b""
                while (length := int(self.rfile.readline().split(b";")[0] or b"0", 16)) > 0:
                    whole += self.rfile.read(length)
                    self.rfile.readline()
                    if len(whole) > _LARGEST_BODY:
                        return None
                self.rfile.readline()
                return whole
            declared = self.headers.get("Content-Length", "0")
            length = int(declared) if declared.isdecimal() else 0
            return None if length > _LARGEST_BODY else self.rfile.read(length)

        def _send(self, answer: Response) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers:
                if name != "content-length":
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _serve  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Log nothing, because a line for each request would hide other messages."""

    return Handler
