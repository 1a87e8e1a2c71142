"""DynamoDB transactions: all conditions are checked before any write, and a repeated ClientRequestToken succeeds."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import Any

from moto.core.responses import ActionResult
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.exceptions import (
    DynamodbException,
    MultipleTransactionsException,
    TooManyTransactionsException,
    TransactionCanceledException,
    TransactWriteSingleOpException,
)
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.responses import DynamoHandler

_TOKEN_SECONDS = 600
_CONDITION_FAILED = ("ConditionalCheckFailed", "The conditional request failed")
_writing = threading.RLock()


class _TokenReused(DynamodbException):  # type: ignore[misc,unused-ignore]
    def __init__(self) -> None:
        super().__init__(
            "com.amazonaws.dynamodb.v20120810#IdempotentParameterMismatchException",
            "A client request token was used again with other parameters.",
        )


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    respond = DynamoHandler.transact_write_items

    def transact_write_items(self: Any) -> ActionResult:
        """For ten minutes, the same token and items succeed without a write; with other items the token is refused."""
        token = self.body.get("ClientRequestToken")
        if token is None:
            return respond(self)
        done: dict[str, tuple[float, str]] = self.dynamodb_backend.__dict__.setdefault("transaction_tokens", {})
        items = json.dumps(self.body["TransactItems"], sort_keys=True, default=repr)
        digest = hashlib.sha256(items.encode()).hexdigest()
        with _writing:
            at, earlier = done.get(token, (0.0, ""))
            if time.time() - at < _TOKEN_SECONDS:
                if earlier != digest:
                    raise _TokenReused
                return ActionResult({"ConsumedCapacity": [], "ItemCollectionMetrics": {}})
            result = respond(self)
            done[token] = (time.time(), digest)
        return result

    DynamoHandler.transact_write_items = transact_write_items
    DynamoDBBackend.transact_write_items = _transact


def _transact(self: Any, transact_items: list[dict[str, Any]]) -> None:
    """Check all conditions before any write, so that nothing has to be rolled back.

    moto instead copies each table for a rollback, which is slower the more items it has.
    """
    if len(transact_items) > 100:
        raise TooManyTransactionsException
    operations: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    touched: set[tuple[str, str]] = set()
    for item in transact_items:
        if len(item) != 1:
            raise TransactWriteSingleOpException
        ((kind, operation),) = item.items()
        table = self.get_table(operation["TableName"])
        key = operation.get("Key") or {
            name: operation["Item"][name] for name in (table.hash_key_attr, table.range_key_attr) if name is not None
        }
        identity = (table.name, json.dumps(key, sort_keys=True, default=repr))
        if identity in touched:
            raise MultipleTransactionsException
        touched.add(identity)
        operations.append((kind, operation, key))
    with _writing:
        reasons = [_failed_condition(self, operation, key) for _, operation, key in operations]
        if any(code is not None for code, _, _ in reasons):
            raise TransactionCanceledException(reasons)
        for kind, operation, key in operations:
            _write(self, kind, operation, key)


def _failed_condition(backend: Any, operation: dict[str, Any], key: dict[str, Any]) -> tuple[Any, Any, Any]:
    expression = operation.get("ConditionExpression")
    if expression is None:
        return None, None, None
    current = backend.get_item(operation["TableName"], key)
    condition = get_filter_expression(
        expression, operation.get("ExpressionAttributeNames"), operation.get("ExpressionAttributeValues")
    )
    if condition.expr(current):
        return None, None, None
    shown = operation.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and current
    return (*_CONDITION_FAILED, current.to_json()["Attributes"] if shown else None)


def _write(backend: Any, kind: str, operation: dict[str, Any], key: dict[str, Any]) -> None:
    names = operation.get("ExpressionAttributeNames")
    values = operation.get("ExpressionAttributeValues")
    match kind:
        case "Put":
            backend.put_item(operation["TableName"], operation["Item"])
        case "Delete":
            backend.delete_item(operation["TableName"], key)
        case "Update":
            backend.update_item(
                operation["TableName"],
                key,
                update_expression=operation["UpdateExpression"],
                condition_expression=operation.get("ConditionExpression"),
                expression_attribute_names=names,
                expression_attribute_values=values,
            )
        case _:
            """ConditionCheck writes nothing."""
