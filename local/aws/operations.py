"""Parse a request to AWS, of any wire protocol: service, operation and parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import HTTPException

# Services that name the operation in the path, rather than in a header or a form.
_REST = {"s3": "s3", "lambda": "lambda", "ses": "sesv2", "apigateway": "apigatewayv2", "scheduler": "scheduler"}
# Headers of S3 that permissions depend on.
_HEADERS = {"HTTP_X_AMZ_COPY_SOURCE": "CopySource", "HTTP_IF_NONE_MATCH": "IfNoneMatch"}
# sagemaker-runtime signs as sagemaker, and has no header that names the operation.
_INVOCATION = re.compile(r"/endpoints/([^/]+)/invocations(-response-stream)?")


@dataclass(frozen=True)
class Operation:
    """One call. `service` is the prefix of IAM actions (`ses`, `states`), not always boto3's name."""

    service: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parse(environ: Mapping[str, Any], service: str, body: bytes) -> Operation:
    """Return the operation of a request to `service` (of its credential scope); its name is empty if unknown."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return Operation(service, target.rpartition(".")[2], _json(body))
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded") and b"Action=" in body:
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        return Operation(service, form.pop("Action"), form)
    if service == "sagemaker" and (invoked := _INVOCATION.fullmatch(environ.get("PATH_INFO", ""))):
        name = "InvokeEndpointWithResponseStream" if invoked[2] else "InvokeEndpoint"
        return Operation(service, name, {"EndpointName": invoked[1]})
    if service in _REST:
        return _rest(environ, service, body)
    return Operation(service, environ.get("PATH_INFO", "").rpartition("/operation/")[2])


def _rest(environ: Mapping[str, Any], service: str, body: bytes) -> Operation:
    try:
        router = get_service_router(_REST[service])
        operation, parameters = router.match(Request(dict(environ)))
    except HTTPException:
        # The path is no operation of the service: moto answers with its own error.
        return Operation(service, "")
    query = {
        key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True).items()
    }
    from_body = _json(body) if service != "s3" else {}
    headers = {name: environ[header] for header, name in _HEADERS.items() if header in environ}
    return Operation(service, operation.name, {**query, **from_body, **headers, **dict(parameters)})


def _json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
