"""API Gateway's payload format 2.0: conversion of a request to an event, and of the function's answer to a response."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from local import ACCOUNT
from local.aws.callers import Caller
from local.deployment import Deployment, Route

# Bodies of these types reach a function as text, all others as base64.
_TEXT = re.compile(r"text/|application/(json|javascript|xml)|.*\+(json|xml)")


@dataclass(frozen=True)
class IncomingRequest:
    """One HTTP request; header names are lower case, and repeated headers are listed repeatedly."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    source_ip: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


@dataclass(frozen=True)
class Response:
    """One HTTP response."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = field(default_factory=tuple)


def message(status: int, text: str) -> Response:
    """Return an answer of the gateway itself, with its message."""
    return Response(status, json.dumps({"message": text}).encode(), (("content-type", "application/json"),))


def match(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the most specific route for a request, with its path parameters; a named method comes before ANY."""
    best: tuple[tuple[int, int, int], Route, dict[str, str]] | None = None
    for route in routes:
        if route.method not in {method, "ANY"}:
            continue
        parameters = _parameters(route.path, path)
        if parameters is not None:
            fixed = sum("{" not in part for part in route.path.split("/"))
            rank = ("+}" not in route.path, fixed, route.method != "ANY")
            score = (int(rank[0]), rank[1], int(rank[2]))
            if best is None or score > best[0]:
                best = (score, route, parameters)
    return (best[1], best[2]) if best else None


def _parameters(pattern: str, path: str) -> dict[str, str] | None:
    parts = [
        f"(?P<{part[1:-2]}>.+)"
        if part.endswith("+}")
        else f"(?P<{part[1:-1]}>[^/]+)"
        if part.startswith("{")
        else re.escape(part)
        for part in pattern.split("/")
    ]
    found = re.fullmatch("/".join(parts), path)
    return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


def event(
    request: IncomingRequest,
    route_key: str,
    parameters: Mapping[str, str],
    deployment: Deployment,
    caller: Caller | None,
) -> dict[str, Any]:
    """Return the event for the function."""
    joined: dict[str, str] = {}
    for name, value in request.headers:
        if name != "cookie":
            joined[name] = f"{joined[name]},{value}" if name in joined else value
    host = request.header("host")
    joined |= {
        "x-forwarded-for": request.source_ip,
        "x-forwarded-proto": "http",
        "x-forwarded-port": host.partition(":")[2] or "80",
    }
    query: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    now = dt.datetime.now(dt.UTC)
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": joined,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": deployment.api_id,
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.source_ip,
                "userAgent": request.header("user-agent"),
            },
            "requestId": uuid.uuid4().hex[:16],
            "routeKey": route_key,
            "stage": deployment.api_stage,
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    cookies = [each.strip() for name, value in request.headers if name == "cookie" for each in value.split(";")]
    if cookies:
        made["cookies"] = cookies
    if query:
        made["queryStringParameters"] = query
    if parameters:
        made["pathParameters"] = dict(parameters)
    if request.body:
        textual = _TEXT.match(request.header("content-type").lower()) is not None
        made["body"] = request.body.decode(errors="replace") if textual else base64.b64encode(request.body).decode()
        made["isBase64Encoded"] = not textual
    if caller is not None:
        made["requestContext"]["authorizer"] = {
            "iam": {
                "accessKey": caller.access_key,
                "accountId": ACCOUNT,
                "callerId": caller.principal_id,
                "cognitoIdentity": None,
                "principalOrgId": None,
                "userArn": caller.arn,
                "userId": caller.principal_id,
            }
        }
    return made


def response(payload: bytes) -> Response:
    """Return the client's response for a function's answer; without statusCode the answer is the body, as JSON."""
    try:
        answer = json.loads(payload)
    except ValueError:
        return message(500, "Internal Server Error")
    if not isinstance(answer, dict) or "statusCode" not in answer:
        body = payload if not isinstance(answer, str) else answer.encode()
        return Response(200, body, (("content-type", "application/json"),))
    body_text = answer.get("body") or ""
    body = base64.b64decode(body_text) if answer.get("isBase64Encoded") else str(body_text).encode()
    headers = {str(name).lower(): str(value) for name, value in (answer.get("headers") or {}).items()}
    headers.setdefault("content-type", "text/plain; charset=utf-8")
    listed = [*headers.items(), *(("set-cookie", cookie) for cookie in answer.get("cookies") or ())]
    return Response(int(answer["statusCode"]), body, listed)
