"""lambda:Invoke answers as Lambda does: at once, in the background, and with its errors."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from local.aws.invoke import InvokeApi
from local.aws.operations import Operation
from local.deployment import Deployment
from local.runtime.function import Outcome

ARN = "arn:aws:lambda:us-east-1:123456789012:function:web"


class Noting:
    """A function that keeps what it was invoked with."""

    settings = SimpleNamespace(arn=ARN, name="web", dead_letter=None)

    def __init__(self) -> None:
        self.outcome = Outcome(b'"done"')
        self.now: list[bytes] = []
        self.later: list[bytes] = []

    def invoke(self, payload: bytes) -> Outcome:
        self.now.append(payload)
        return self.outcome

    def invoke_later(self, payload: bytes, on_failure: Any) -> None:
        self.later.append(payload)


@pytest.fixture
def function() -> Noting:
    return Noting()


def call(function: Noting, body: bytes = b"{}", name: str = "web", **environ: str) -> tuple[str, dict[str, str], bytes]:
    api = InvokeApi(Deployment(functions={ARN: function}), lambda: None)  # type: ignore[dict-item]
    handler = api.handlers()["lambda", "Invoke"]
    operation = Operation("lambda", "Invoke", {"FunctionName": name})
    status, headers, answer = handler(None, operation, environ, body)  # type: ignore[arg-type]
    assert isinstance(answer, bytes)
    return status, dict(headers), answer


@pytest.mark.parametrize("name", ["web", ARN, ARN.replace(":", "%3A"), f"{ARN}:$LATEST"])
def test_a_function_is_invoked_by_name_or_arn(function: Noting, name: str) -> None:
    status, headers, answer = call(function, b'{"a": 1}', name)
    assert (status, answer, function.now) == ("200 OK", b'"done"', [b'{"a": 1}'])
    assert "X-Amz-Function-Error" not in headers


def test_an_invocation_without_a_body_has_an_empty_event(function: Noting) -> None:
    call(function, b"")
    assert function.now == [b"{}"]


def test_an_event_is_accepted_and_processed_in_the_background(function: Noting) -> None:
    assert call(function, b'{"a": 1}', HTTP_X_AMZ_INVOCATION_TYPE="Event") == ("202 Accepted", {}, b"")
    assert (function.now, function.later) == ([], [b'{"a": 1}'])


def test_a_dry_run_invokes_nothing(function: Noting) -> None:
    assert call(function, HTTP_X_AMZ_INVOCATION_TYPE="DryRun") == ("204 No Content", {}, b"")
    assert (function.now, function.later) == ([], [])


def test_an_error_of_the_function_is_named_in_a_header(function: Noting) -> None:
    function.outcome = Outcome(b'{"errorType": "KeyError"}', "Unhandled")
    status, headers, answer = call(function)
    assert (status, headers["X-Amz-Function-Error"]) == ("200 OK", "Unhandled")
    assert json.loads(answer) == {"errorType": "KeyError"}


def test_a_function_that_does_not_exist_is_not_found(function: Noting) -> None:
    status, headers, answer = call(function, name="gone")
    assert (status, headers["x-amzn-ErrorType"]) == ("404 Not Found", "ResourceNotFoundException")
    assert json.loads(answer)["Message"] == "Function not found: gone"


@pytest.mark.parametrize("kind", ["RequestResponse", "Event"])
def test_a_body_that_is_no_json_is_refused(function: Noting, kind: str) -> None:
    status, headers, _ = call(function, b"{", HTTP_X_AMZ_INVOCATION_TYPE=kind)
    assert (status, headers["x-amzn-ErrorType"]) == ("400 Bad Request", "InvalidRequestContentException")
    assert (function.now, function.later) == ([], [])
