"""The dead-letter queue and the queue of undelivered events, as `promotion redrive` finds them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from promotion.cli import checking

URLS = {
    "registrations_queue_url": "registrations", "wake_queue_url": "wake", "dead_letter_queue_url": "dead",
    "undelivered_queue_url": "undelivered", "projections_table": "projections",
}  # fmt: skip


class Queues:
    """SQS and Lambda: undelivered messages stay until they are deleted, and come again when all have been received."""

    def __init__(self, *bodies: str, attributes: Mapping[str, Any] | None = None, place: str = "undelivered") -> None:
        self._place = place
        self.messages, self._attributes = dict(enumerate(bodies)), attributes or {}
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.invoked: list[dict[str, Any]] = []

    def receive_message(self, *, QueueUrl: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        found = self.messages if QueueUrl == self._place else {}
        about = {"MessageAttributes": self._attributes}
        return {
            "Messages": [{"MessageId": str(n), "ReceiptHandle": n, "Body": body, **about} for n, body in found.items()]
        }

    def send_message(self, *, QueueUrl: str, MessageBody: str, **_: Any) -> None:  # noqa: N803
        self.sent.append((QueueUrl, json.loads(MessageBody)))

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: int) -> None:  # noqa: N803
        del self.messages[ReceiptHandle]

    def get_queue_attributes(self, *, QueueUrl: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        return {"Attributes": {"QueueArn": f"arn:aws:sqs:us-east-1:123456789012:{QueueUrl}"}}

    def invoke(self, **given: Any) -> None:
        self.invoked.append(given)


class NoGroups:
    """A ledger without groups."""

    def groups(self) -> Iterator[str]:
        yield from ()


def redrive(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `promotion redrive` on these queues, where the ledger has no groups; return its exit code."""
    monkeypatch.setattr(checking, "client", lambda service: queues)
    monkeypatch.setattr(checking, "installation", lambda: URLS)
    monkeypatch.setattr(checking, "ledger", NoGroups)
    return checking.redrive()
