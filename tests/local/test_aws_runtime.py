"""InvokeEndpoint refuses what SageMaker refuses, and passes the container's errors on as ModelError."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from local.aws.operations import Operation
from local.aws.runtime import LARGEST_BODY_BYTES, RuntimeApi

OPERATIONS = ["InvokeEndpoint", "InvokeEndpointWithResponseStream"]


class Failing(BaseHTTPRequestHandler):
    """A container that answers with the status that the request's body names."""

    def do_POST(self) -> None:
        status = int(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"no \xff tensor")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def container() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Failing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def invoked(operation: str, port: int | None, body: bytes) -> tuple[str, str, dict[str, Any]]:
    """Return status, type and document of the error."""
    handler = RuntimeApi(lambda _: port, lambda _: "AllTraffic").handlers()["sagemaker", operation]
    called = Operation("sagemaker", operation, {"EndpointName": "there"})
    status, headers, answer = handler(None, called, {}, body)  # type: ignore[arg-type]
    assert isinstance(answer, bytes)
    return status, dict(headers)["x-amzn-ErrorType"], json.loads(answer)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("port", "size", "says"),
    [(None, 2, "Endpoint there of account 123456789012 not found."), (9, LARGEST_BODY_BYTES + 1, "larger than")],
    ids=["no endpoint", "large body"],
)
def test_a_request_is_validated_before_the_container_gets_it(
    operation: str, port: int | None, size: int, says: str
) -> None:
    status, kind, document = invoked(operation, port, bytes(size))
    assert (status, kind) == ("400 Bad Request", "ValidationError")
    assert says in document["Message"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("original", "whose"), [(422, "client"), (503, "server")])
def test_an_error_of_the_container_keeps_its_status_and_message(
    container: int, operation: str, original: int, whose: str
) -> None:
    status, kind, document = invoked(operation, container, str(original).encode())
    assert (status, kind) == ("424 Failed Dependency", "ModelError")
    assert (document["OriginalStatusCode"], document["OriginalMessage"]) == (original, "no � tensor")
    assert document["Message"].startswith(f"Received {whose} error ({original}) from primary")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_container_that_does_not_answer_is_a_model_error(operation: str) -> None:
    with closing(socket.socket()) as silent:
        # Bound but not listening: a connection is refused.
        silent.bind(("127.0.0.1", 0))
        status, kind, document = invoked(operation, silent.getsockname()[1], b"{}")
    assert (status, kind, document["OriginalStatusCode"]) == ("424 Failed Dependency", "ModelError", 0)
    assert "The container did not answer" in document["OriginalMessage"]
