"""lambda:Invoke, executed by the real function instead of moto."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from local.aws.callers import Caller
from local.aws.front import Answer, Handler
from local.aws.operations import Operation
from local.deployment import Deployment
from local.sources.bus import invoke_later


class InvokeApi:
    """Invokes functions for permitted callers, at once or in the background."""

    def __init__(self, deployment: Deployment, woken: Callable[[], None]) -> None:
        self._deployment = deployment
        self._woken = woken

    def handlers(self) -> dict[tuple[str, str], Handler]:
        return {("lambda", "Invoke"): self._invoke}

    def _invoke(self, caller: Caller, operation: Operation, environ: dict[str, Any], body: bytes) -> Answer:
        name = unquote(str(operation.parameters["FunctionName"]))
        function = self._deployment.function(name)
        if function is None:
            error = {"Type": "User", "Message": f"Function not found: {name}"}
            headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", "ResourceNotFoundException")]
            return "404 Not Found", headers, json.dumps(error).encode()
        payload = body or b"{}"
        try:
            json.loads(payload)
        except ValueError:
            headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", "InvalidRequestContentException")]
            return "400 Bad Request", headers, b'{"Type":"User","Message":"The request body is not JSON."}'
        kind = environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse")
        if kind == "DryRun":
            return "204 No Content", [], b""
        if kind == "Event":
            invoke_later(function, payload, self._woken)
            return "202 Accepted", [], b""
        outcome = function.invoke(payload)
        headers = [("Content-Type", "application/json"), ("X-Amz-Executed-Version", "$LATEST")]
        if outcome.error is not None:
            headers.append(("X-Amz-Function-Error", outcome.error))
        return "200 OK", headers, outcome.payload
