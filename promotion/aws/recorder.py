"""Asking the function `record` to append what another function saw happen."""

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
        """Have what happened recorded by lambdas/handlers/record.py.

        Raises:
            Invalid: a field was refused; it is kept.
            PromotionError: the function refused; its message is kept.
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
