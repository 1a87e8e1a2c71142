"""Calls of the function `record`, which appends events that other functions observed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from promotion.errors import Invalid, PromotionError
from promotion.ledger.append import Receipt
from promotion.workflows.commands import Command, message

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class Recorder:
    """Invokes `record` and waits for its receipt."""

    def __init__(self, client: LambdaClient, function: str) -> None:
        self._client = client
        self._function = function

    def record(self, command: Command) -> Receipt:
        """Record an event by lambdas/handlers/record.py.

        Raises:
            Invalid: a field was refused; the error names it.
            PromotionError: the function refused; the error has its message.
        """
        answer = self._client.invoke(FunctionName=self._function, Payload=message(command))
        result = json.loads(answer["Payload"].read() or b"null")
        if answer.get("FunctionError"):
            raise RuntimeError(f"the function `record` failed: {result.get('errorType')}: {result.get('errorMessage')}")
        if result.get("field"):
            raise Invalid(result["field"], result["error"])
        if result.get("error"):
            raise PromotionError(result["error"])
        return msgspec.convert(result["receipt"], Receipt)
