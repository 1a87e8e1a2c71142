"""Two readers of a local queue, at the same time."""

from __future__ import annotations

import threading
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.sqs.models import Message

from local import moto_patches


def test_a_message_goes_to_one_reader_and_its_group_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    moto_patches.apply()
    with mock_aws():
        sqs = boto3.client("sqs")
        attributes: Any = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        url = sqs.create_queue(QueueName="wakes.fifo", Attributes=attributes)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="first", MessageGroupId="group")
        taken: list[str] = []

        def take() -> None:
            for message in sqs.receive_message(QueueUrl=url).get("Messages", []):
                taken.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

        other = threading.Thread(target=take)
        seen: list[bool] = []
        visible: Any = Message.visible

        def visible_before_the_other_reads(message: Message) -> bool:
            seen.append(bool(visible.fget(message)))
            found = seen[-1]
            # The second look is the one just before the message is taken.
            if len(seen) == 2:
                other.start()
                # Unless the first reader holds the queue's lock, the other is done now.
                other.join(1)
            return found

        monkeypatch.setattr(Message, "visible", property(visible_before_the_other_reads))
        take()
        other.join()
        sqs.send_message(QueueUrl=url, MessageBody="second", MessageGroupId="group")
        take()
        assert taken == ["first", "second"]
