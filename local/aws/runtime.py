"""sagemaker-runtime: InvokeEndpoint and InvokeEndpointWithResponseStream, forwarded to an endpoint's container."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

from local import ACCOUNT
from local.aws import event_stream
from local.aws.callers import Caller
from local.aws.front import Answer, Handler
from local.aws.operations import Operation

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
VARIANT = "x-Amzn-Invoked-Production-Variant"
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
LARGEST_BODY_BYTES = 25 * 1024 * 1024
ANSWER_SECONDS = 60
STREAM_SECONDS = 8 * 60
_CHUNK_BYTES = 64 * 1024
_DEFAULT_TYPE = "application/json"


class RuntimeApi:
    """Invokes endpoints. `port_of` returns the port of an endpoint's container, `variant_of` its variant's name."""

    def __init__(self, port_of: Callable[[str], int | None], variant_of: Callable[[str], str]) -> None:
        self._port_of = port_of
        self._variant_of = variant_of

    def handlers(self) -> dict[tuple[str, str], Handler]:
        return {
            ("sagemaker", "InvokeEndpoint"): self._invoke,
            ("sagemaker", "InvokeEndpointWithResponseStream"): self._invoke_streaming,
        }

    def _invoke(self, caller: Caller, operation: Operation, environ: dict[str, Any], body: bytes) -> Answer:
        name = str(operation.parameters["EndpointName"])
        port = self._port_of(name)
        if (refused := _refused(name, port, body)) is not None:
            return refused
        assert port is not None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        try:
            answer = _asked(connection, environ, environ.get("HTTP_ACCEPT"), body)
            content = answer.read()
        except (OSError, http.client.HTTPException) as broken:
            return _model_error(0, f"The container did not answer: {broken}", name)
        finally:
            connection.close()
        if answer.status != 200:
            return _model_error(answer.status, content.decode(errors="replace"), name)
        headers = [("Content-Type", answer.getheader("Content-Type", _DEFAULT_TYPE)), (VARIANT, self._variant_of(name))]
        return "200 OK", [*headers, *_passed_on(answer)], content

    def _invoke_streaming(self, caller: Caller, operation: Operation, environ: dict[str, Any], body: bytes) -> Answer:
        name = str(operation.parameters["EndpointName"])
        port = self._port_of(name)
        if (refused := _refused(name, port, body)) is not None:
            return refused
        assert port is not None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STREAM_SECONDS)
        try:
            answer = _asked(connection, environ, environ.get("HTTP_X_AMZN_SAGEMAKER_ACCEPT"), body)
            if answer.status != 200:
                refusal = _model_error(answer.status, answer.read().decode(errors="replace"), name)
                connection.close()
                return refusal
        except (OSError, http.client.HTTPException) as broken:
            connection.close()
            return _model_error(0, f"The container did not answer: {broken}", name)
        headers = [
            ("Content-Type", "application/vnd.amazon.eventstream"),
            ("X-Amzn-SageMaker-Content-Type", answer.getheader("Content-Type", _DEFAULT_TYPE)),
            (VARIANT, self._variant_of(name)),
        ]
        return "200 OK", [*headers, *_passed_on(answer)], _parts(connection, answer)


def _parts(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the container's output as frames, without delay; a disconnected caller ends the container's request."""
    try:
        while chunk := answer.read1(_CHUNK_BYTES):
            yield event_stream.event("PayloadPart", chunk)
    except (OSError, http.client.HTTPException) as broken:
        problem = {"Message": f"The container broke off: {broken}", "ErrorCode": "ModelInvocationError"}
        yield event_stream.exception("ModelStreamError", json.dumps(problem).encode())
    finally:
        connection.close()


def _asked(
    connection: http.client.HTTPConnection, environ: dict[str, Any], accept: str | None, body: bytes
) -> http.client.HTTPResponse:
    headers = {"Content-Type": environ.get("CONTENT_TYPE") or _DEFAULT_TYPE}
    if accept:
        headers["Accept"] = accept
    if attributes := environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"):
        headers[ATTRIBUTES] = attributes
    connection.request("POST", "/invocations", body, headers)
    return connection.getresponse()


def _passed_on(answer: http.client.HTTPResponse) -> list[tuple[str, str]]:
    attributes = answer.getheader(ATTRIBUTES)
    return [(ATTRIBUTES, attributes)] if attributes else []


def _refused(name: str, port: int | None, body: bytes) -> Answer | None:
    if port is None:
        return _error(400, "ValidationError", {"Message": f"Endpoint {name} of account {ACCOUNT} not found."})
    if len(body) > LARGEST_BODY_BYTES:
        return _error(400, "ValidationError", {"Message": f"The body is larger than {LARGEST_BODY_BYTES} bytes."})
    return None


def _model_error(status: int, message: str, name: str) -> Answer:
    """Return 424 for the container's error, with its own status and message."""
    said = f'Received {"client" if 400 <= status < 500 else "server"} error ({status}) from primary with message "{message}".'
    return _error(
        424,
        "ModelError",
        {
            "Message": said,
            "OriginalStatusCode": status,
            "OriginalMessage": message,
            "LogStreamArn": f"arn:aws:logs:::log-group:/aws/sagemaker/Endpoints/{name}",
        },
    )


def _error(status: int, code: str, document: dict[str, Any]) -> Answer:
    reason = {400: "Bad Request", 424: "Failed Dependency"}[status]
    headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)]
    return f"{status} {reason}", headers, json.dumps(document).encode()
