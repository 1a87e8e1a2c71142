"""`promotion redrive` deletes only what it has dealt with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promotion import names
from promotion.cli import checking


class Queue:
    """Messages that stay until they are deleted, and come again when all have been received."""

    def __init__(self, *bodies: str) -> None:
        self.messages = dict(enumerate(bodies))
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def receive_message(self, **_: Any) -> dict[str, Any]:
        return {
            "Messages": [{"MessageId": str(n), "ReceiptHandle": n, "Body": body} for n, body in self.messages.items()]
        }

    def send_message(self, *, QueueUrl: str, MessageBody: str, **_: Any) -> None:  # noqa: N803
        self.sent.append((QueueUrl, json.loads(MessageBody)))

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: int) -> None:  # noqa: N803
        del self.messages[ReceiptHandle]


def test_unknown_messages_stay_in_the_queue_and_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = json.dumps({"DDBStreamBatchInfo": {}})
    strange = ('{"requestPayload": {}}', '{"requestPayload": {}, "requestContext": {"functionArn": ["x"]}}')
    queue = Queue('{"detail": "\\u001b[2J"}', stream, "[1]", "no JSON\x1b[2J", *strange)
    monkeypatch.setattr(checking, "client", lambda service: queue)
    assert checking._take("undelivered", checking._deliver) == 5
    assert stream not in queue.messages.values()
    assert len(queue.messages) == 5
    said = capsys.readouterr().err
    assert said.count("left in the queue") == 5
    assert "\x1b" not in said


def test_a_registration_goes_back_to_its_queue_and_mail_that_waits_wakes_the_projector(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    event = json.dumps({"id": "1", "detail": {"ModelPackageArn": "arn:v1", "ModelPackageGroupName": "summaries"}})
    queue = Queue(event, json.dumps({"group": names.DIGEST, "later": True}))
    monkeypatch.setattr(checking, "client", lambda service: queue)
    urls = {"registrations_queue_url": "registrations", "wake_queue_url": "wake"}
    monkeypatch.setattr(checking, "installation", lambda: urls)
    assert checking._take("undelivered", checking._deliver) == 0
    assert queue.messages == {}
    [(registrations, again), (wake, later)] = queue.sent
    assert (registrations, again) == ("registrations", json.loads(event))
    assert (wake, later["group"], later["later"]) == ("wake", names.DIGEST, True)
    assert "arn:v1: registered again" in capsys.readouterr().out


def test_pages_of_a_verification_are_left_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = Queue(json.dumps({"groups": ["fraud", "summaries"]}))
    monkeypatch.setattr(checking, "client", lambda service: queue)
    assert checking._take("undelivered", checking._deliver) == 0
    assert (queue.messages, queue.sent) == ({}, [])
    assert "2 groups: the next verification" in capsys.readouterr().out
