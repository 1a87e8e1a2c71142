"""`promotion redrive` deletes only what it has dealt with."""

from __future__ import annotations

import json

import pytest

from promotion import names
from tests.cli.queues import Queues, redrive


def test_unknown_messages_stay_in_the_queue_and_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = json.dumps({"DDBStreamBatchInfo": {}})
    strange = ('{"requestPayload": {}}', '{"requestPayload": {}, "requestContext": {"functionArn": ["x"]}}')
    queues = Queues('{"detail": "\\u001b[2J"}', stream, "[1]", "no JSON\x1b[2J", *strange)
    assert redrive(queues, monkeypatch) == 1
    assert stream not in queues.messages.values()
    assert len(queues.messages) == 5
    said = capsys.readouterr().err
    assert said.count("left in the queue") == 5
    assert "\x1b" not in said


def test_a_registration_goes_back_to_its_queue_and_mail_that_waits_wakes_the_projector(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    event = json.dumps({"id": "1", "detail": {"ModelPackageArn": "arn:v1", "ModelPackageGroupName": "summaries"}})
    queues = Queues(event, json.dumps({"group": names.DIGEST, "later": True}))
    assert redrive(queues, monkeypatch) == 0
    assert queues.messages == {}
    [(registrations, again), (wake, later)] = queues.sent
    assert (registrations, again) == ("registrations", json.loads(event))
    assert (wake, later["group"], later["later"]) == ("wake", names.DIGEST, True)
    assert "arn:v1: registered again" in capsys.readouterr().out


def test_pages_of_a_verification_are_left_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queues = Queues(json.dumps({"groups": ["fraud", "summaries"]}))
    assert redrive(queues, monkeypatch) == 0
    assert (queues.messages, queues.sent) == ({}, [])
    assert "2 groups: the next verification" in capsys.readouterr().out


def test_only_names_of_groups_wake_the_projector(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = json.dumps({"group": "fraud", "target": "mail", "sequence": 7})
    queues = Queues('{"group": "a b"}', '{"sequence": 1}', known, place="dead")
    assert redrive(queues, monkeypatch) == 1
    assert list(queues.messages) == [0, 1]
    assert [(queue, body["group"]) for queue, body in queues.sent] == [("wake", "fraud")]
    assert capsys.readouterr().out == "fraud: mail again from event 7\n1 groups woken\n"


@pytest.mark.parametrize(
    ("target", "again"),
    [
        ("arn:aws:lambda:us-east-1:123456789012:function:promotion-machine:3", "promotion-machine: again"),
        ("arn:aws:sqs:us-east-1:123456789012:registrations", "a job that hashes: registered again"),
    ],
)
def test_an_event_goes_to_the_target_that_it_did_not_reach(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str, again: str
) -> None:
    event = {"id": "1", "detail": {"ProcessingJobName": "hashing"}}
    queues = Queues(json.dumps(event), attributes={"TARGET_ARN": {"StringValue": target}})
    assert redrive(queues, monkeypatch) == 0
    assert again in capsys.readouterr().out
    started = [(given["FunctionName"], json.loads(given["Payload"])) for given in queues.invoked]
    sent = [(queue, body) for queue, body in queues.sent if queue == "registrations"]
    if ":sqs:" in target:
        assert (started, sent) == ([], [("registrations", event)])
    else:
        assert (started, sent) == ([(target.removesuffix(":3"), event)], [])
