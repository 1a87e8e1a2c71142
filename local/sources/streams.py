"""Reading of a DynamoDB stream like Lambda's event source mapping: filtered, in order, with the function's role."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from typing import Any

from botocore.exceptions import ClientError
from moto.events.models import EventPattern

from local import REGION
from local.aws.callers import service_session
from local.clients import any_client
from local.deployment import EventSource
from local.runtime.function import Function
from local.sources.bus import send
from local.sources.item_failures import reported

log = logging.getLogger("local.streams")
# Every write wakes the reader.
_IDLE_SECONDS = 10.0
_RETRY_SECONDS = 0.5


class StreamReader(threading.Thread):
    """Read one stream from its beginning; `woken` is set whenever a table was written."""

    def __init__(self, source: EventSource, function: Function, aws_url: str, stopping: threading.Event) -> None:
        super().__init__(name=f"stream-{function.settings.module}", daemon=True)
        self._source = source
        self._function = function
        self._stopping = stopping
        self.woken = threading.Event()
        session = service_session(function.settings.role_arn, "stream", "lambda.amazonaws.com")
        self._client = any_client("dynamodbstreams", region_name=REGION, endpoint_url=aws_url, **session)
        self._patterns = [EventPattern.load(json.dumps(pattern)) for pattern in source.filters]

    def run(self) -> None:
        iterator: str | None = None
        while not self._stopping.is_set():
            self.woken.clear()
            try:
                iterator = iterator or self._first_iterator()
                answer = self._client.get_records(ShardIterator=iterator, Limit=max(self._source.batch_size, 100))
            except ClientError as refused:
                log.warning("the stream of %s can't be read: %s", self._function.settings.module, refused)
                self._stopping.wait(5)
                continue
            except Exception:
                if not self._stopping.wait(_RETRY_SECONDS):
                    log.exception("reading the stream broke")
                continue
            iterator = answer["NextShardIterator"]
            records = [record for record in map(_as_delivered, answer["Records"]) if self._wanted(record)]
            for start in range(0, len(records), self._source.batch_size):
                self._hand_over(records[start : start + self._source.batch_size])
            if not answer["Records"]:
                self.woken.wait(_IDLE_SECONDS)

    def _first_iterator(self) -> str:
        description = self._client.describe_stream(StreamArn=self._source.source_arn)["StreamDescription"]
        shard = description["Shards"][0]["ShardId"]
        iterator: str = self._client.get_shard_iterator(
            StreamArn=self._source.source_arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        return iterator

    def _wanted(self, record: dict[str, Any]) -> bool:
        return not self._patterns or any(pattern.matches_event(record) for pattern in self._patterns)

    def _hand_over(self, records: list[dict[str, Any]]) -> None:
        """Invoke the function until it accepts the batch, or until the limit of retries; later records wait."""
        attempt = 0
        while not self._stopping.is_set():
            whole = {"Records": [{**record, "eventSourceARN": self._source.source_arn} for record in records]}
            outcome = self._function.invoke(json.dumps(whole).encode())
            numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
            failed = set(numbers) if outcome.error else set()
            if not failed and self._source.reports_item_failures:
                failed = reported(outcome.payload, numbers)
            if not failed:
                return
            # The records before the first failed one are processed.
            records = records[min(map(numbers.index, failed)) :]
            attempt += 1
            if self._source.retries is not None and 0 <= self._source.retries < attempt:
                self._give_up(records, attempt)
                return
            self._stopping.wait(min(_RETRY_SECONDS * attempt, 5))

    def _give_up(self, records: list[dict[str, Any]], attempts: int) -> None:
        log.error("%s: %d records given up", self._function.settings.module, len(records))
        if self._source.failure_destination is None:
            return
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        # As on AWS, the message has the position of the records in the stream, but not the records.
        failed = {
            "requestContext": {
                "functionArn": self._function.settings.arn,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": attempts,
            },
            "DDBStreamBatchInfo": {
                "streamArn": self._source.source_arn,
                "startSequenceNumber": numbers[0],
                "endSequenceNumber": numbers[-1],
                "batchSize": len(records),
            },
        }
        send(self._source.failure_destination, json.dumps(failed))


def _as_delivered(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record in Lambda's form, with numbers and base64 instead of boto3's dates and bytes."""
    created = record["dynamodb"].get("ApproximateCreationDateTime")
    if isinstance(created, dt.datetime):
        record["dynamodb"]["ApproximateCreationDateTime"] = created.timestamp()
    delivered: dict[str, Any] = json.loads(json.dumps(record, default=str))
    return delivered
