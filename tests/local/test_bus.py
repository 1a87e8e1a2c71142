"""What a rule can't deliver goes to the target's dead-letter queue, or is logged."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto.sqs.models import sqs_backends

from local import ACCOUNT, REGION
from local.aws import access
from local.deployment import Deployment
from local.runtime.function import Outcome
from local.sources.bus import Bus, invoke_later
from local.waiting import until

pytestmark = pytest.mark.usefixtures("moto")
DEAD = f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"
RULE = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/on-promoted"
SWEEP = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:sweep"
EVENT = {"source": "promotion", "detail": {"version": 3}}
MAY_SEND = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": DEAD}]}


@pytest.fixture
def dead(moto: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The messages of a dead-letter queue that EventBridge may send to."""
    make: Any = boto3.client
    make("sqs", region_name=REGION).create_queue(QueueName="dead")
    monkeypatch.setattr(access, "resource_policies", {DEAD: [MAY_SEND]})
    return sqs_backends[ACCOUNT][REGION].queues["dead"]


def bus() -> Bus:
    deployment = Deployment()
    function: Any = SimpleNamespace(settings=SimpleNamespace(name="sweep", arn=SWEEP))
    deployment.functions[SWEEP] = function
    return Bus(deployment, "http://127.0.0.1:9", lambda: None)


def deliver(target: dict[str, Any]) -> None:
    bus().deliver(SimpleNamespace(arn=RULE), target, EVENT)


@pytest.mark.parametrize(
    ("arn", "reason"),
    [
        (SWEEP, "the function has no permission for this rule"),
        (f"{SWEEP}-gone", "there is no such function"),
        (f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:events", "the local service can't deliver to logs"),
    ],
)
def test_an_event_that_no_target_takes_goes_to_the_dead_letter_queue(dead: Any, arn: str, reason: str) -> None:
    deliver({"Arn": arn, "DeadLetterConfig": {"Arn": DEAD}})
    [message] = until("the message", lambda: dead.messages)
    assert json.loads(message.body) == EVENT
    said = {name: value["StringValue"] for name, value in message.message_attributes.items()}
    assert (said["ERROR_MESSAGE"], said["TARGET_ARN"]) == (reason, arn)


def test_an_event_that_the_dead_letter_queue_refuses_is_lost(
    dead: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access, "resource_policies", {})
    deliver({"Arn": f"{SWEEP}-gone", "DeadLetterConfig": {"Arn": DEAD}})
    until("the log", lambda: f"the event is lost: the policy of {DEAD}" in caplog.text)
    assert not dead.messages


def test_a_target_that_can_not_be_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    deliver({"Arn": SWEEP, "InputTransformer": {"InputPathsMap": {}}})
    until("the log", lambda: f"rule {RULE}: delivery to {SWEEP} broke" in caplog.text)


@pytest.mark.parametrize("destination", [DEAD, None])
def test_an_event_that_failed_each_time_goes_to_the_functions_destination(dead: Any, destination: str | None) -> None:
    woken = threading.Event()
    outcome = Outcome(b'{"errorMessage": "no"}', "Unhandled")
    function: Any = SimpleNamespace(
        settings=SimpleNamespace(arn=SWEEP, retries=2, dead_letter=destination),
        invoke_later=lambda payload, on_failure: on_failure(payload, outcome),
    )
    invoke_later(function, json.dumps(EVENT).encode(), woken.set)
    assert [json.loads(message.body)["requestPayload"] for message in dead.messages] == ([EVENT] if destination else [])
    assert woken.is_set() is (destination is not None)
