"""Delayed mail in the projector's table (storms of requests, events for a digest), and the queue of wake-up calls."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from promotion.workflows.storms import Storm

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html
LONGEST_DELAY_S = 900


class Waiting(Struct, frozen=True, kw_only=True):
    """An event that waits for a digest, since when, and the addresses and channels that have received it."""

    group: str
    sequence: int
    since: datetime
    told: tuple[str, ...] = ()
    channels_told: bool = False


class HeldMail:
    """One item for each environment of a group with a recent request, and one for each event of the next digest."""

    def __init__(self, client: DynamoDBClient, table: str, sqs: SQSClient, queue_url: str) -> None:
        self._client = client
        self._table = table
        self._sqs = sqs
        self._queue_url = queue_url

    def storms(self, group: str) -> dict[str, Storm]:
        """Return the state of the newest requests of a group, by environment."""
        return {key: msgspec.json.decode(text, type=Storm) for key, text in self._query(f"STORM#{group}")}

    def put_storm(self, group: str, environment: str, storm: Storm) -> None:
        """Store the newest request for an environment, and whether its mail is delayed."""
        self._put(f"STORM#{group}", environment, storm)

    def digest(self) -> list[Waiting]:
        """Return the events of the next digest, of all groups."""
        return [msgspec.json.decode(text, type=Waiting) for _, text in self._query("DIGEST")]

    def put(self, waiting: Waiting) -> None:
        """Add an event to the next digest, or update the addresses that have received it."""
        self._put("DIGEST", f"{waiting.group}#{waiting.sequence:010d}", waiting)

    def remove(self, waiting: Waiting) -> None:
        """Remove an event from the next digest, after its mail was sent."""
        key = {"pk": {"S": "DIGEST"}, "sk": {"S": f"{waiting.group}#{waiting.sequence:010d}"}}
        self._client.delete_item(TableName=self._table, Key=key)

    def wake(self, group: str, after: timedelta) -> None:
        """Send the projector a message about a group, or names.DIGEST, that is delivered once `after` has passed."""
        # One second more, because the clock of the machine that receives the message may be behind this one's.
        seconds = max(0, math.ceil(after.total_seconds()) + 1)
        self._sqs.send_message(
            QueueUrl=self._queue_url,
            MessageBody=json.dumps({"group": group, "later": True}),
            DelaySeconds=min(seconds, LONGEST_DELAY_S),
        )

    def _query(self, key: str) -> list[tuple[str, str]]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": key}},
            ConsistentRead=True,
        )
        return [(item["sk"]["S"], item["state"]["S"]) for page in pages for item in page["Items"]]

    def _put(self, pk: str, sk: str, state: object) -> None:
        item = {"pk": {"S": pk}, "sk": {"S": sk}, "state": {"S": msgspec.json.encode(state).decode()}}
        self._client.put_item(TableName=self._table, Item=item)
