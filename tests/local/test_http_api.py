"""The HTTP API answers like API Gateway, also when a function may not be invoked, is late, or the service breaks."""

from __future__ import annotations

import http.client
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest

from local.deployment import Deployment, Permission, Route
from local.http_api import HttpApi
from local.http_server import HttpServer
from local.payload import IncomingRequest, Response
from local.provision import wiring
from local.runtime.function import Outcome
from local.template import Resource, TemplateError

ARN = "arn:aws:lambda:us-east-1:123456789012:function:web"


class Answering:
    """A function that answers each event with its body."""

    settings = SimpleNamespace(arn=ARN, name="web")
    seconds = 0.1

    def invoke(self, payload: bytes) -> Outcome:
        event = json.loads(payload)
        answer = {"statusCode": 200, "body": event.get("body", ""), "isBase64Encoded": event["isBase64Encoded"]}
        return Outcome(json.dumps(answer).encode(), seconds=self.seconds)


def broken(request: IncomingRequest) -> Response | None:
    raise RuntimeError(f"nothing answers {request.path}")


@pytest.fixture
def deployment() -> Deployment:
    source = "arn:aws:execute-api:us-east-1:123456789012:api/$default/POST/echo"
    return Deployment(
        functions={ARN: Answering()},  # type: ignore[dict-item]
        permissions=[Permission(ARN, "apigateway.amazonaws.com", source)],
        routes=[Route("POST", "/echo", ARN)],
        api_id="api",
    )


@pytest.fixture
def api(deployment: Deployment) -> HttpApi:
    return HttpApi(deployment, broken, lambda: None)


@pytest.fixture
def port(api: HttpApi) -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        number: int = free.getsockname()[1]
    api.start(number)
    yield number
    api.stop()


def echoed(api: HttpApi, body: bytes = b"") -> tuple[int, bytes]:
    answer = api.answer(IncomingRequest("POST", "/echo", [("host", "127.0.0.1")], body, "127.0.0.1"))
    return answer.status, answer.body


def test_a_route_for_all_other_requests_is_refused() -> None:
    properties = {"RouteKey": "$default", "Target": f"integrations/{ARN}"}
    with pytest.raises(TemplateError, match=r"Rest: the local service doesn't know the route \$default"):
        wiring.route(None, Resource("Rest", "AWS::ApiGatewayV2::Route", {}), properties)  # type: ignore[arg-type]


@pytest.mark.parametrize("lacking", ["functions", "permissions"])
def test_a_function_that_api_gateway_may_not_invoke_answers_500(
    api: HttpApi, deployment: Deployment, lacking: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert echoed(api, b"x") == (200, b"x")
    getattr(deployment, lacking).clear()
    assert echoed(api, b"x") == (500, b'{"message": "Internal Server Error"}')
    assert f"POST /echo: API Gateway may not invoke {ARN}" in caplog.text


def test_a_function_that_takes_more_than_30_seconds_answers_503(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "seconds", 30.1)
    assert echoed(api) == (503, b'{"message": "Service Unavailable"}')


def test_an_error_of_the_service_itself_answers_500_and_is_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/_local/page")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (500, b'{"message": "Internal Server Error"}')
    assert "GET /_local/page broke" in caplog.text
    assert "nothing answers /_local/page" in caplog.text


def test_a_body_in_chunks_reaches_the_function_whole(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for sent in ([b"one ", b"two ", b"three"], [b"again"]):
            connection.request("POST", "/echo", iter(sent), encode_chunked=True)
            assert connection.getresponse().read() == b"".join(sent)


def test_a_body_in_chunks_has_the_limit_of_every_body(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        size = 10 * 1024 * 1024 + 1
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")
        assert connection.makefile("rb").readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"


def test_a_connection_that_breaks_is_logged_without_a_traceback_on_the_terminal(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Breaking(BaseHTTPRequestHandler):
        def handle(self) -> Any:
            raise ConnectionResetError("the client is gone")

    caplog.set_level(logging.DEBUG, "local.http")
    with (
        HttpServer(("127.0.0.1", 0), Breaking) as server,
        socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection,
    ):
        server.handle_request()
        assert connection.recv(1) == b""
    assert "the client is gone" in caplog.text
    assert capfd.readouterr().err == ""
