"""Event source mappings: refused or failed reads are logged and tried again, failed batches are retried and given up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.sqs.models import sqs_backends

from local import ACCOUNT, REGION
from local.deployment import EventSource
from local.runtime.function import Outcome
from local.sources import queues
from local.sources.queues import QueueReader
from local.sources.streams import StreamReader
from local.waiting import until

pytestmark = pytest.mark.usefixtures("moto")
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:project"
DEAD = f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"
STREAMS = f"https://streams.dynamodb.{REGION}.amazonaws.com"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}


class Stopping(threading.Event):
    """An event of which each wait is over at once; it is set by the last of some waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.left = waits

    def wait(self, timeout: float | None = None) -> bool:
        was, self.left = self.is_set(), self.left - 1
        if self.left <= 0:
            self.set()
        return was


def client(service: str) -> Any:
    make: Any = boto3.client
    return make(service, region_name=REGION)


def function(invoke: Callable[[bytes], Outcome]) -> Any:
    role = client("iam").create_role(RoleName="project", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    return SimpleNamespace(settings=SimpleNamespace(module="project", arn=ARN, role_arn=role), invoke=invoke)


def stream() -> str:
    """Return the ARN of the stream of a table with the items a, b and c."""
    dynamodb = client("dynamodb")
    table = dynamodb.create_table(
        TableName="ledger",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )["TableDescription"]
    for name in "abc":
        dynamodb.put_item(TableName="ledger", Item={"pk": {"S": name}})
    return str(table["LatestStreamArn"])


def nothing(payload: bytes) -> Outcome:
    raise AssertionError(payload)


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        (f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/gone/stream/2026-01-01T00:00:00.000", "of project can't be read"),
        ("no-arn", "reading the stream broke"),
    ],
)
def test_a_stream_that_can_not_be_read_is_logged(arn: str, says: str, caplog: pytest.LogCaptureFixture) -> None:
    StreamReader(EventSource(ARN, arn, 10), function(nothing), STREAMS, Stopping(1)).run()
    assert says in caplog.text


def test_the_records_before_the_first_failed_one_are_not_sent_again() -> None:
    stopping, seen = Stopping(99), []

    def invoke(payload: bytes) -> Outcome:
        records = json.loads(payload)["Records"]
        seen.append([record["dynamodb"]["Keys"]["pk"]["S"] for record in records])
        if len(seen) == 1:
            failed = [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]} for record in records[:0:-1]]
            return Outcome(json.dumps({"batchItemFailures": failed}).encode())
        stopping.set()
        return Outcome(b"null")

    StreamReader(EventSource(ARN, stream(), 10, reports_item_failures=True), function(invoke), STREAMS, stopping).run()
    assert seen == [["a", "b", "c"], ["b", "c"]]


@pytest.mark.parametrize("destination", [DEAD, None])
def test_a_batch_that_failed_too_often_is_given_up(destination: str | None, caplog: pytest.LogCaptureFixture) -> None:
    client("sqs").create_queue(QueueName="dead")
    stopping, seen = Stopping(99), []

    def invoke(payload: bytes) -> Outcome:
        records = json.loads(payload)["Records"]
        seen.append([record["dynamodb"]["SequenceNumber"] for record in records])
        if len(records) == 1:
            stopping.set()
        return Outcome(b"{}", "Unhandled")

    source = EventSource(ARN, stream(), 2, reports_item_failures=True, retries=1, failure_destination=destination)
    StreamReader(source, function(invoke), STREAMS, stopping).run()
    first, again, last = seen
    assert (again, len(first), len(last)) == (first, 2, 1)
    assert "project: 2 records given up" in caplog.text
    told = [json.loads(message.body) for message in sqs_backends[ACCOUNT][REGION].queues["dead"].messages]
    position = {
        "streamArn": source.source_arn,
        "startSequenceNumber": first[0],
        "endSequenceNumber": first[1],
        "batchSize": 2,
    }
    if destination is None:
        assert told == []
    else:
        [failed] = told
        assert failed["DDBStreamBatchInfo"] == position
        assert failed["requestContext"]["approximateInvokeCount"] == 2


def test_a_queue_that_the_role_may_not_read_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        def receive_message(self, **_: object) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ReceiveMessage")

    client("sqs").create_queue(QueueName="registrations")
    sqs_backends[ACCOUNT][REGION].send_message(queue_name="registrations", message_body="{}")
    monkeypatch.setattr(queues, "any_client", lambda *_, **__: Refusing())
    read("registrations")
    until("the log", lambda: "the queue of project can't be read" in caplog.text)
    assert "AccessDenied" in caplog.text


def test_a_queue_that_is_not_there_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    read("gone")
    until("the log", lambda: "/gone broke" in caplog.text)


def read(queue: str) -> None:
    source = EventSource(ARN, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}", 10, maximum_concurrency=1)
    QueueReader(source, function(nothing), f"https://sqs.{REGION}.amazonaws.com", Stopping(1)).start()
