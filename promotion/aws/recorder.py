"""Asking the function `record` to append what another function saw happen."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from promotion.aws import Client
from promotion.errors import Invalid, PromotionError
from promotion.ledger.append import Receipt


class Recorder:
    """Invokes `record` and waits for its receipt."""

    def __init__(self, client: Client, function: str) -> None:
        self._client = client
        self._function = function

    def record(self, operation: str, **arguments: Any) -> Receipt:
        """Have an operation of lambdas/handlers/record.py recorded.

        Raises:
            Invalid: a field was refused; it is kept.
            PromotionError: the function refused; its message is kept.
        """
        payload = msgspec.json.encode({"operation": operation, "arguments": arguments})
        answer = self._client.invoke(FunctionName=self._function, Payload=payload)
        result = json.loads(answer["Payload"].read() or b"null")
        if answer.get("FunctionError"):
            raise RuntimeError(f"the function `record` failed: {result.get('errorType')}: {result.get('errorMessage')}")
        if result.get("field"):
            raise Invalid(result["field"], result["error"])
        if result.get("error"):
            raise PromotionError(result["error"])
        return msgspec.convert(result["receipt"], Receipt)
