"""Events duplicated, reordered, delayed and lost; the stream replayed; a clock that jumps; a poison group."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import time_machine

from lambdas.handlers import on_projection_due
from promotion import names
from tests.fakes import GROUP
from tests.faults.simulation import BEGINNING, Simulation


def whole(service: Simulation) -> None:
    assert service.differences() == []
    assert service.doubled_mails() == []
    assert service.dead == []
    assert service.undelivered == []


def duplicate(service: Simulation) -> None:
    service.asynchronous[:] = [each for each in service.asynchronous for _ in range(3)]


def shuffle(service: Simulation) -> None:
    random.Random(7).shuffle(service.asynchronous)


def duplicate_and_shuffle(service: Simulation) -> None:
    duplicate(service)
    shuffle(service)


@pytest.mark.parametrize("disorder", [duplicate, shuffle, duplicate_and_shuffle])
def test_events_told_twice_or_out_of_order_change_nothing(
    service: Simulation, disorder: Callable[[Simulation], None]
) -> None:
    for _ in range(3):
        service.register()
    disorder(service)
    service.settle()
    story = service.story()
    assert [what for what, *_ in story].count(names.MODEL_REGISTERED) == 3
    assert service.decide(3, "dev") == 303
    disorder(service)
    service.settle()
    whole(service)


def test_a_run_reported_thrice_asks_once(service: Simulation) -> None:
    service.register()
    service.settle()
    service.promote(1, "dev")
    service.measure(1, "dev")
    duplicate(service)
    service.settle()
    assert [what for what, *_ in service.story()].count(names.INFERENCE_COMPLETED) == 1
    whole(service)


def test_a_lost_registration_is_found_by_the_sweep(service: Simulation) -> None:
    service.register(tell=False)
    service.settle()
    assert service.story() == []
    service.sweep()
    assert service.story() == [], "it may still be on its way"
    with time_machine.travel(BEGINNING + timedelta(minutes=10), tick=True):
        service.sweep()
        service.sweep()
    assert len(service.story()) == 3
    whole(service)


def test_a_lost_wake_up_is_made_good_by_the_next_event_or_by_redrive(service: Simulation) -> None:
    service.register()
    service.settle()
    service.decide(1, "dev")
    service.stream.clear()
    assert any(line.startswith("projection") for line in service.differences())
    service.measure(1, "dev")
    service.settle()
    whole(service)
    service.decide(1, "test")
    service.stream.clear()
    service.redrive()
    whole(service)


def test_the_stream_replayed_from_the_start_changes_nothing(service: Simulation) -> None:
    service.register()
    service.settle()
    service.promote(1, "dev")
    service.measure(1, "dev")
    service.settle()
    before, mails = service.story(), list(service.mails)
    with service.without_faults():
        service.stream = _heads()
    service.deduplicated.clear()
    service.settle()
    assert (service.story(), service.mails) == (before, mails)
    whole(service)


def _heads() -> list[dict[str, Any]]:
    """A stream record for every event that was ever appended, oldest first."""
    table = boto3.client("dynamodb").query(
        TableName="ledger",
        KeyConditionExpression="pk = :pk AND begins_with(sk, :e)",
        ExpressionAttributeValues={":pk": {"S": f"GROUP#{GROUP}"}, ":e": {"S": "EVENT#"}},
    )["Items"]
    return [
        {
            "dynamodb": {
                "Keys": {"pk": item["pk"], "sk": {"S": "HEAD"}},
                "NewImage": {"sequence": {"N": str(number)}},
                "SequenceNumber": f"{number:021d}",
            }
        }
        for number, item in enumerate(table, 1)
    ]


@pytest.mark.parametrize("jump", [timedelta(hours=-5), timedelta(seconds=-1), timedelta(days=400)])
def test_a_clock_that_jumps_breaks_neither_chain_nor_order(service: Simulation, jump: timedelta) -> None:
    # A day after the first deployment: what is older than that is nobody's business.
    day = BEGINNING + timedelta(days=1)
    with time_machine.travel(day, tick=True):
        service.register()
        service.settle()
    with time_machine.travel(day + jump, tick=True):
        service.register()
        service.settle()
        assert service.decide(2, "dev") == 303
        service.settle()
    with time_machine.travel(day, tick=True):
        service.register()
        service.settle()
        assert service.decide(3, "dev") in (303, 410)
        service.settle()
        whole(service)


def test_a_poison_target_stops_alone_and_is_named(service: Simulation) -> None:
    """Parameter Store refuses one group's live record: everything else goes on, also for that group."""

    def refuses(call: str, given: dict[str, Any]) -> bool:
        return call == "ssm:PutParameter" and given["Name"].startswith(f"/promotion/{GROUP}/")

    service.register()
    service.settle()
    service.fails_if = refuses
    assert service.decide(1, "dev") == 303
    service.settle()
    [failed] = [json.loads(message.body) for message in service.dead]
    assert (failed["group"], failed["target"]) == (GROUP, names.PARAMETERS)
    assert "InternalFailure" in failed["error"]
    assert service.alarms == [f"promotion: {GROUP} {names.PARAMETERS} set aside"]
    described = boto3.client("sagemaker").describe_model_package(ModelPackageName=service.arn(1))
    assert described["ModelApprovalStatus"] == names.APPROVED, "the registry went on"
    with service.without_faults():
        cursors = on_projection_due.cursors_table().read(GROUP)
    assert cursors[names.MAIL] == cursors[names.REGISTRY] == len(service.story()), "and so did mail"
    service.fails_if = None
    service.redrive()
    whole(service)


def test_events_missed_by_a_failing_target_are_projected_with_the_next_one(service: Simulation) -> None:
    service.register()
    service.settle()
    service.fails_if = lambda call, given: call == "sagemaker:UpdateModelPackage"
    service.decide(1, "dev")
    service.settle()
    assert [json.loads(message.body)["target"] for message in service.dead] == [names.REGISTRY]
    service.fails_if = None
    service.measure(1, "dev")
    service.settle()
    service.redrive()
    whole(service)


def test_a_function_that_always_fails_is_kept_for_redrive(service: Simulation) -> None:
    service.fails_if = lambda call, given: call == "s3:HeadObject"
    service.register()
    service.settle()
    assert [module for module, _ in service.undelivered] == ["on_model_registered"]
    assert service.story() == []
    service.fails_if = None
    service.redrive()
    whole(service)
    assert len(service.story()) == 3


def test_tries_go_on_until_a_deleted_parameter_may_be_made_again() -> None:
    # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameter.html: "wait for at least 30 seconds".
    waits = on_projection_due.WAITS_S
    assert sum(waits) > 30
    document = (Path(__file__).parents[2] / "docs" / "history.md").read_text(encoding="utf-8")
    assert f"after {waits[0]}, {waits[1]} and {waits[2]} seconds" in document
    assert f"the projector's tries go on for\n{sum(waits)} seconds" in document
