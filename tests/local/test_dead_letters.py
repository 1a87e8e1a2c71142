"""Failed messages stay in the queue as on AWS, so that `promotion redrive` works the same."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from local.runtime import envelope
from local.runtime.function import Outcome
from local.sources.dead_letters import undelivered_event
from tests.cli.queues import Queues, redrive

ARN = "arn:aws:lambda:us-east-1:123456789012:function:promotion-record"
RULE = "arn:aws:events:us-east-1:123456789012:rule/promotion-on-registered"
EVENT = {"detail-type": "Model Package State Change"}


@pytest.mark.parametrize("answer", [b'{"errorMessage": "no"}', b"killed"])
def test_a_call_that_failed_each_time_is_delivered_again(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = SimpleNamespace(arn=ARN, retries=2)
    body = envelope.record(settings, json.dumps(EVENT).encode(), Outcome(answer, "Unhandled"))
    queues = Queues(body)
    assert redrive(queues, monkeypatch) == 0
    [call] = queues.invoked
    assert (call["FunctionName"], json.loads(call["Payload"])) == (ARN, EVENT)
    assert json.loads(body)["requestContext"]["approximateInvokeCount"] == 3


def test_an_event_that_was_not_delivered_goes_to_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues(json.dumps(EVENT), attributes=undelivered_event(RULE, ARN, "there is no such function"))
    assert redrive(queues, monkeypatch) == 0
    [call] = queues.invoked
    assert (call["FunctionName"], json.loads(call["Payload"])) == (ARN, EVENT)
