"""Polling of an SQS queue like Lambda's event source mapping: each group in order, several groups at once."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from moto.sqs.models import sqs_backends

from local import ACCOUNT, REGION
from local.aws.callers import service_session
from local.clients import any_client
from local.deployment import EventSource
from local.runtime.function import Function
from local.sources.item_failures import reported

log = logging.getLogger("local.queues")
_IDLE_SECONDS = 0.5
_DEFAULT_CONCURRENCY = 2


class QueueReader:
    """Several pollers of one queue; SQS gives a message group to only one of them at a time."""

    def __init__(self, source: EventSource, function: Function, aws_url: str, stopping: threading.Event) -> None:
        self._source = source
        self._function = function
        self._stopping = stopping
        self._aws_url = aws_url
        self._queue = source.source_arn.rsplit(":", 1)[-1]
        self._queue_url = f"{aws_url}/{ACCOUNT}/{self._queue}"
        count = min(source.maximum_concurrency or _DEFAULT_CONCURRENCY, 4)
        self._wakers = [threading.Event() for _ in range(count)]
        self._threads = [
            threading.Thread(
                target=self._poll, args=(waker,), name=f"queue-{index}-{function.settings.module}", daemon=True
            )
            for index, waker in enumerate(self._wakers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Wake the pollers, after a message was sent to a queue."""
        for waker in self._wakers:
            waker.set()

    def _poll(self, woken: threading.Event) -> None:
        session = service_session(self._function.settings.role_arn, "queue", "lambda.amazonaws.com")
        client = any_client(
            "sqs",
            region_name=REGION,
            endpoint_url=self._aws_url,
            config=Config(retries={"total_max_attempts": 1}),
            **session,
        )
        while not self._stopping.is_set():
            woken.clear()
            try:
                if not self._has_messages():
                    woken.wait(_IDLE_SECONDS)
                    continue
                messages = client.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=min(self._source.batch_size, 10),
                    WaitTimeSeconds=0,
                    AttributeNames=["All"],
                    MessageAttributeNames=["All"],
                ).get("Messages", [])
                if not messages:
                    # Another poller has them, or their group.
                    woken.wait(_IDLE_SECONDS)
                    continue
                self._hand_over(client, messages)
            except ClientError as refused:
                log.warning("the queue of %s can't be read: %s", self._function.settings.module, refused)
                self._stopping.wait(5)
            except Exception:
                if not self._stopping.wait(_IDLE_SECONDS):
                    log.exception("polling %s broke", self._queue_url)

    def _has_messages(self) -> bool:
        """Return True if the queue has a message to deliver; asking moto itself keeps an idle service's CPU time small."""
        return bool(sqs_backends[ACCOUNT][REGION].queues[self._queue].messages)

    def _hand_over(self, client: Any, messages: list[dict[str, Any]]) -> None:
        """Delete processed messages; others return after their visibility timeout, and at last go to the DLQ."""
        payload = {"Records": [self._record(message) for message in messages]}
        outcome = self._function.invoke(json.dumps(payload).encode())
        ids = {message["MessageId"] for message in messages}
        failed = ids if outcome.error else set()
        if not failed and self._source.reports_item_failures:
            failed = reported(outcome.payload, ids)
        for message in messages:
            if message["MessageId"] not in failed:
                client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
            else:
                # AWS waits for the whole visibility timeout, which is minutes; here it is a second.
                client.change_message_visibility(
                    QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=1
                )

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": message.get("MessageAttributes", {}),
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._source.source_arn,
            "awsRegion": REGION,
        }
