"""The WSGI application on the AWS port: identifies the caller, enforces policies, and forwards the call to moto."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import time_machine
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from local.aws import access, callers, operations, sigv4
from local.aws.access import Denied
from local.aws.callers import Caller, UnknownCaller
from local.aws.operations import Operation
from local.aws.sigv4 import SignatureInvalid

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
# The answer of a handler that replaces moto: status line, headers, and the body or its parts.
Answer = tuple[str, list[tuple[str, str]], bytes | Iterator[bytes]]
Handler = Callable[[Caller, Operation, dict[str, Any], bytes], Answer]

# Services with one call at a time, because moto checks and writes in two steps, which are atomic on AWS. (SQS and Step
# Functions are not among them, because their calls may block.)
_ONE_AT_A_TIME = frozenset({"dynamodb", "ssm", "sagemaker", "secretsmanager", "sts", "iam", "ses", "events", "kms"})
_LARGEST_BODY = 64 * 1024 * 1024
# Paths without a signature: moto's own pages, and browsers' automatic requests.
_OPEN_PATHS = ("/moto-api", "/favicon.ico")


class Front:
    """Moto behind authentication and authorization.

    `handlers` replace single operations, by (service, operation); `after` are called after a call has succeeded.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._locks: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self.handlers: dict[tuple[str, str], Handler] = {}
        self.after: dict[tuple[str, str], list[Callable[[], None]]] = defaultdict(list)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith(_OPEN_PATHS):
            return self._moto(environ, start_response)  # type: ignore[no-any-return]
        scope = _scope(environ)
        if scope is None:
            return _refuse(
                start_response, "s3", "AccessDenied", "Sign the request: here too, AWS takes no anonymous calls."
            )
        access_key, service = scope
        try:
            caller = callers.find(access_key, _session_token(environ))
        except UnknownCaller:
            code = "UnrecognizedClientException" if service != "s3" else "InvalidAccessKeyId"
            return _refuse(
                start_response,
                service,
                code,
                "The security token included in the request is invalid. "
                "The administrator's access key and secret here are test and test.",
            )
        if service == "sts" and "X-Amz-Signature" in parse_qs(environ.get("QUERY_STRING", "")):
            # A presigned call is sent by another party than its signer, so its signature is verified.
            try:
                sigv4.verify(**_presigned(environ))
            except SignatureInvalid as refused:
                return _refuse(start_response, service, "SignatureDoesNotMatch", str(refused))
            # moto identifies service and caller only by this header.
            environ["HTTP_AUTHORIZATION"] = _authorization(environ)
        body = b""
        if service != "s3":
            body = environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), _LARGEST_BODY))
            environ["wsgi.input"] = io.BytesIO(body)
        operation = operations.parse(environ, service, body)
        try:
            access.check(caller, operation)
        except Denied as denied:
            logging.getLogger("local.aws").info("denied %s", denied)
            return _refuse(start_response, service, "AccessDenied", str(denied))
        return self._answer(caller, operation, environ, body, start_response)

    def _answer(
        self, caller: Caller, operation: Operation, environ: dict[str, Any], body: bytes, start_response: StartResponse
    ) -> Iterable[bytes]:
        key = (operation.service, operation.name)
        if key in self.handlers:
            status, headers, answer = self.handlers[key](caller, operation, environ, body)
            if not isinstance(answer, bytes):
                # Sent in chunks as they arrive, because the length is unknown.
                start_response(status, headers)
                return answer
            start_response(status, [*headers, ("Content-Length", str(len(answer)))])
            return [answer]
        seen: list[str] = []

        def noting_status(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            seen.append(status)
            return start_response(status, headers, *rest)

        token = callers.current.set(caller)
        try:
            if operation.service in _ONE_AT_A_TIME:
                with self._locks[operation.service]:
                    chunks = self._moto(environ, noting_status)
            else:
                chunks = self._moto(environ, noting_status)
        finally:
            callers.current.reset(token)
        if seen and seen[0].startswith("2"):
            for tell in self.after.get(key, ()):
                tell()
        return chunks  # type: ignore[no-any-return]


class _QuietHandler(MotoRequestHandler):  # type: ignore[misc]
    protocol_version = "HTTP/1.1"

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing, because a line for each call would hide other messages."""


def serve(front: Front, port: int) -> BaseWSGIServer:
    """Return a listening server for `front` on loopback, in its own thread."""
    server = make_server("127.0.0.1", port, front, threaded=True, request_handler=_QuietHandler)
    server.daemon_threads = True  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="aws", daemon=True).start()
    return server


def _scope(environ: dict[str, Any]) -> tuple[str, str] | None:
    scope = callers.credential_scope(environ.get("HTTP_AUTHORIZATION", ""))
    if scope is None:
        credential = parse_qs(environ.get("QUERY_STRING", "")).get("X-Amz-Credential", [""])[0]
        scope = callers.credential_scope(f"Credential={unquote(credential)}")
    return scope


def _presigned(environ: dict[str, Any]) -> dict[str, Any]:
    """Return a presigned request without a body as arguments of `sigv4.verify`."""
    headers = {
        key[5:].replace("_", "-").lower(): str(value) for key, value in environ.items() if key.startswith("HTTP_")
    }
    real = dt.datetime.fromtimestamp(time_machine.escape_hatch.time.time(), dt.UTC)
    return {
        "method": environ["REQUEST_METHOD"],
        "path": environ.get("PATH_INFO") or "/",
        "query": environ.get("QUERY_STRING", ""),
        "headers": headers,
        "body": b"",
        "service": "sts",
        "now": (dt.datetime.now(dt.UTC), real),
    }


def _authorization(environ: dict[str, Any]) -> str:
    """Return a presigned request's signature in the form of an Authorization header."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    credential, headers, signature = (
        query[f"X-Amz-{name}"][0] for name in ("Credential", "SignedHeaders", "Signature")
    )
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"


def _session_token(environ: dict[str, Any]) -> str | None:
    header: str | None = environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
    return header or parse_qs(environ.get("QUERY_STRING", "")).get("X-Amz-Security-Token", [None])[0]


_JSON_SERVICES = frozenset(
    {
        "dynamodb",
        "ssm",
        "sagemaker",
        "kms",
        "secretsmanager",
        "sqs",
        "events",
        "states",
        "logs",
        "lambda",
        "ses",
        "execute-api",
        "scheduler",
        "monitoring",
    }
)


def _refuse(start_response: StartResponse, service: str, code: str, message: str) -> Iterable[bytes]:
    """Answer with an error in the service's protocol, so that clients raise the same exception as on AWS."""
    request_id, status = str(uuid.uuid4()), 403
    if service in _JSON_SERVICES:
        code = "AccessDeniedException" if code == "AccessDenied" else code
        if service not in {"lambda", "ses", "execute-api"}:
            status = 400
        body = json.dumps({"__type": code, "message": message, "Message": message}).encode()
        content_type = "application/json" if service in {"lambda", "ses"} else "application/x-amz-json-1.1"
    elif service == "s3":
        body = (
            f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{escape(message)}</Message>"
            f"<RequestId>{request_id}</RequestId></Error>"
        ).encode()
        content_type = "application/xml"
    else:
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        ).encode()
        content_type = "text/xml"
    start_response(
        f"{status} Refused",
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("x-amzn-RequestId", request_id),
            ("x-amzn-ErrorType", code),
            ("Connection", "close"),
        ],
    )
    return [body]
