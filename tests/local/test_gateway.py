"""Requests become API Gateway's events, and answers become responses, in payload format 2.0."""

from __future__ import annotations

import base64
import json

import pytest

from local.deployment import Deployment, Route
from local.payload import IncomingRequest, event, match, response

ROUTES = [
    Route("GET", "/models/{group}", "group"),
    Route("GET", "/models/fixed", "fixed"),
    Route("POST", "/models/{group}/{environment}/rollback", "rollback"),
    Route("ANY", "/any/{rest+}", "any"),
]


def request(method: str = "GET", target: str = "/", body: bytes = b"", **headers: str) -> IncomingRequest:
    named = [(name.replace("_", "-"), value) for name, value in {"host": "127.0.0.1:8000", **headers}.items()]
    return IncomingRequest(method, target, named, body, "127.0.0.1")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/models/churn", ("group", {"group": "churn"})),
        ("GET", "/models/fixed", ("fixed", {})),
        ("POST", "/models/churn/dev/rollback", ("rollback", {"group": "churn", "environment": "dev"})),
        ("PUT", "/any/a/b", ("any", {"rest": "a/b"})),
        ("GET", "/models/a%20b", ("group", {"group": "a b"})),
        ("DELETE", "/models/churn", None),
        ("GET", "/models/churn/", None),
        ("GET", "/models/", None),
        ("GET", "/nowhere", None),
    ],
)
def test_the_most_specific_route_takes_a_request(
    method: str, path: str, expected: tuple[str, dict[str, str]] | None
) -> None:
    found = match(ROUTES, method, path)
    assert (None if found is None else (found[0].function_arn, found[1])) == expected


def test_a_form_reaches_the_function_as_base64() -> None:
    made = event(
        request("POST", "/x?a=1&a=2&b=", b"verdict=Approved", content_type="application/x-www-form-urlencoded"),
        "POST /x",
        {},
        Deployment(),
        None,
    )
    assert made["isBase64Encoded"] is True
    assert base64.b64decode(made["body"]) == b"verdict=Approved"
    assert made["queryStringParameters"] == {"a": "1,2", "b": ""}
    assert made["rawQueryString"] == "a=1&a=2&b="


def test_cookies_are_a_list_of_their_own() -> None:
    made = event(request("GET", "/", cookie="a=1; b=2"), "GET /", {}, Deployment(), None)
    assert made["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in made["headers"]


def test_json_reaches_the_function_as_text() -> None:
    made = event(request("POST", "/", b'{"a":1}', content_type="application/json"), "POST /", {}, Deployment(), None)
    assert (made["body"], made["isBase64Encoded"]) == ('{"a":1}', False)


def test_each_cookie_of_an_answer_is_a_header() -> None:
    answer = response(json.dumps({"statusCode": 303, "headers": {"Location": "/"}, "cookies": ["a=1", "b=2"]}).encode())
    assert answer.status == 303
    assert [value for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert ("location", "/") in answer.headers


def test_base64_answers_are_bytes() -> None:
    body = base64.b64encode(b"\x89PNG").decode()
    assert response(json.dumps({"statusCode": 200, "body": body, "isBase64Encoded": True}).encode()).body == b"\x89PNG"


def test_an_answer_without_a_status_is_the_body() -> None:
    answer = response(b'{"anything": 1}')
    assert (answer.status, answer.body) == (200, b'{"anything": 1}')


def test_an_answer_that_is_no_json_is_an_error() -> None:
    assert response(b"<html>").status == 500
