"""Open differences of the daily verification, beside the cursors: one item a group, for the board and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from promotion import names
from promotion.formatting import iso, one_line
from promotion.ledger.events import OpenDifferences

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

# Differences of no group: unknown parameters, another service under the prefix.
SERVICE = "*"
LINES_KEPT = 3
LONGEST_LINE = 300


class DynamoDifferences:
    """Differences that the last verification found, by group; `*` for those of no group."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        """Make a store on the table of projections."""
        self._client = client
        self._table = table

    def open(self) -> dict[str, OpenDifferences]:
        """Return the groups with differences."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": names.DIFFERENCES_KEY}},
        )
        found = {item["sk"]["S"]: _read(item) for page in pages for item in page["Items"]}
        return {group: each for group, each in found.items() if each.count}

    def keep(self, group: str, lines: Sequence[str], now: datetime, before: Mapping[str, OpenDifferences]) -> None:
        """Write the differences of a group if they changed; `before` are the open ones. No lines: no differences."""
        group = group or SERVICE
        known = before.get(group)
        shown = tuple(one_line(line, LONGEST_LINE) for line in lines[:LINES_KEPT])
        if (known.count, known.lines) == (len(lines), shown) if known else not lines:
            return
        item: dict[str, AttributeValueTypeDef] = {
            "pk": {"S": names.DIFFERENCES_KEY},
            "sk": {"S": group},
            "count": {"N": str(len(lines))},
            "since": {"S": iso(known.since if known else now)},
            "lines": {"L": [{"S": line} for line in shown]},
        }
        self._client.put_item(TableName=self._table, Item=item)


def _read(item: Mapping[str, AttributeValueTypeDef]) -> OpenDifferences:
    return OpenDifferences(
        count=int(item["count"]["N"]),
        since=datetime.fromisoformat(item["since"]["S"]),
        lines=tuple(line["S"] for line in item["lines"]["L"]),
    )
