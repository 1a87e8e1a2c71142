"""A request to AWS is recognized as an operation, and an operation as the permissions that it needs."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import pytest

from local import ACCOUNT, REGION
from local.aws import needs, operations
from local.aws.front import Front
from local.aws.needs import Need
from local.aws.operations import Operation


def environ(method: str, path: str, **more: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "5000",
        "HTTP_HOST": "127.0.0.1:5000",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        **more,
    }


def test_a_path_names_the_operation_of_a_rest_service() -> None:
    called = operations.parse(environ("POST", "/2015-03-31/functions/web/invocations"), "lambda", b'{"a": 1}')
    assert (called.name, called.parameters["FunctionName"]) == ("Invoke", "web")


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [("lambda", "GET", "/nothing"), ("lambda", "BREW", "/2015-03-31/functions"), ("s3", "BREW", "/bucket/key")],
)
def test_a_path_of_no_operation_has_an_empty_name(service: str, method: str, path: str) -> None:
    assert operations.parse(environ(method, path), service, b"{}") == Operation(service, "")


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1]", b""])
def test_a_body_that_is_no_json_object_has_no_parameters(body: bytes) -> None:
    target = {"HTTP_X_AMZ_TARGET": "DynamoDB_20120810.PutItem"}
    called = operations.parse(environ("POST", "/", **target), "dynamodb", body)
    assert called == Operation("dynamodb", "PutItem")
    assert needs.of(called) == [Need("dynamodb:PutItem", "*")]


ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:late"


@pytest.mark.parametrize(
    ("service", "name", "given", "expected"),
    [
        ("monitoring", "PutMetricData", {"Namespace": "n"}, ("cloudwatch:PutMetricData", "*")),
        ("monitoring", "DescribeAlarms", {"AlarmNames": ["late"]}, ("cloudwatch:DescribeAlarms", ALARM)),
        ("s3", "ListBuckets", {}, ("s3:ListAllMyBuckets", "*")),
        ("s3", "DeleteObjects", {"Bucket": "b", "delete": ""}, ("s3:DeleteObject", "arn:aws:s3:::b/*")),
        ("s3", "DeleteObject", {"Bucket": "b", "Key": "a%20b"}, ("s3:DeleteObject", "arn:aws:s3:::b/a b")),
        ("s3", "HeadBucket", {"Bucket": "b"}, ("s3:ListBucket", "arn:aws:s3:::b")),
    ],
)
def test_a_call_needs_the_action_of_its_service_authorization_reference(
    service: str, name: str, given: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert [(need.action, need.resource) for need in needs.of(Operation(service, name, given))] == [expected]


def test_a_call_without_a_signature_is_refused_as_an_anonymous_one() -> None:
    started: list[tuple[str, dict[str, str]]] = []
    body = Front()(environ("GET", "/bucket/key"), lambda status, headers: started.append((status, dict(headers))))
    [(status, headers)] = started
    assert (status, headers["Content-Type"]) == ("403 Refused", "application/xml")
    error = ElementTree.fromstring(b"".join(body))
    assert error.findtext("Code") == "AccessDenied"
    assert "Sign the request" in str(error.findtext("Message"))
