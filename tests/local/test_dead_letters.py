"""Failed messages stay in the queue as on AWS, so that `promotion redrive` works the same."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from local.runtime import envelope
from local.runtime.function import Outcome
from local.sources.dead_letters import undelivered_event
from promotion.cli import checking

ARN = "arn:aws:lambda:us-east-1:123456789012:function:promotion-record"
RULE = "arn:aws:events:us-east-1:123456789012:rule/promotion-on-registered"
EVENT = {"detail-type": "Model Package State Change"}


class Lambda:
    def __init__(self) -> None:
        self.invoked: list[dict[str, Any]] = []

    def invoke(self, **given: Any) -> None:
        self.invoked.append(given)


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Lambda:
    client = Lambda()
    monkeypatch.setattr(checking, "client", lambda service: client)
    return client


@pytest.mark.parametrize("answer", [b'{"errorMessage": "no"}', b"killed"])
def test_a_call_that_failed_each_time_is_delivered_again(again: Lambda, answer: bytes) -> None:
    settings: Any = SimpleNamespace(arn=ARN, retries=2)
    body = envelope.record(settings, json.dumps(EVENT).encode(), Outcome(answer, "Unhandled"))
    assert checking._deliver(json.loads(body), {})
    [call] = again.invoked
    assert (call["FunctionName"], json.loads(call["Payload"])) == (ARN, EVENT)
    assert json.loads(body)["requestContext"]["approximateInvokeCount"] == 3


def test_an_event_that_was_not_delivered_goes_to_its_target(again: Lambda) -> None:
    assert checking._deliver(EVENT, undelivered_event(RULE, ARN, "there is no such function"))
    [call] = again.invoked
    assert (call["FunctionName"], json.loads(call["Payload"])) == (ARN, EVENT)
