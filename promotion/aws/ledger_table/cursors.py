"""Cursors of the projector, in a table of their own, because the projector may not write the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from promotion import names

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef


class DynamoCursors:
    """One item a group and target, holding the sequence number of the last event projected."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, group: str) -> dict[str, int]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"GROUP#{group}"}},
            ConsistentRead=True,
        )
        return {item["sk"]["S"]: int(item["sequence"]["N"]) for page in pages for item in page["Items"]}

    def advance(self, group: str, target: names.TargetName, sequence: int) -> None:
        key: dict[str, AttributeValueTypeDef] = {"pk": {"S": f"GROUP#{group}"}, "sk": {"S": target}}
        try:
            self._client.put_item(
                TableName=self._table,
                Item={**key, "sequence": {"N": str(sequence)}},
                ConditionExpression="attribute_not_exists(pk) OR #sequence < :sequence",
                ExpressionAttributeNames={"#sequence": "sequence"},
                ExpressionAttributeValues={":sequence": {"N": str(sequence)}},
            )
        except ClientError as error:
            # The cursor is at this event or later: another projection of the same events was faster.
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def put(self, group: str, target: names.TargetName, sequence: int) -> None:
        """Set a cursor, also to an earlier position."""
        key: dict[str, AttributeValueTypeDef] = {"pk": {"S": f"GROUP#{group}"}, "sk": {"S": target}}
        self._client.put_item(TableName=self._table, Item={**key, "sequence": {"N": str(sequence)}})

    def reset(self, group: str, target: names.TargetName) -> None:
        """Delete a cursor, so that the target is projected again from the first event."""
        self._client.delete_item(TableName=self._table, Key={"pk": {"S": f"GROUP#{group}"}, "sk": {"S": target}})
