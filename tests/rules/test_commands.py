"""Commands between functions: one struct for each operation, decoded in one place."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from promotion import names
from promotion.domain.model import EndpointState
from promotion.errors import Invalid
from promotion.workflows import commands
from promotion.workflows.commands import Command, dispatch, message, read
from tests.fakes import BEGINNING, GROUP, FakeService, a_package, a_registration, a_run

COMMANDS: list[Command] = [
    commands.Register(package=a_package(2), evidence=a_registration()),
    commands.RecordRemoved(group=GROUP, version=1),
    commands.RecordArtifact(group=GROUP, version=1, containers=a_package(1).containers),
    commands.RecordInference(group=GROUP, version=1, evidence=a_run("prod", run="again")),
    commands.RecordFailure(group=GROUP, environment="prod", run_id="r", problem="no room", broken=True),
    commands.RecordUnmeasured(group=GROUP, environment="dev", version=1, reason="There is no input"),
    commands.KeepTime(environment=FakeService().view().environment("prod")),
    commands.RecordBypass(group=GROUP, version=1, status=names.REJECTED, by="mallory", at=BEGINNING),
    commands.RecordMonitoring(group=GROUP, environment="prod", source="hourly", violations=2, reason="Two."),
    commands.RecordRetraining(group=GROUP, environment="prod", version=1, pipeline="p", execution="e"),
    commands.RecordEndpoint(
        group=GROUP, environment="prod", version=1, endpoint=EndpointState(name="e", status="Failed")
    ),
]


def test_there_is_an_example_of_every_command() -> None:
    assert {type(each).__struct_config__.tag for each in COMMANDS} == commands.OPERATIONS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: str(each.__struct_config__.tag))
def test_a_command_arrives_as_it_was_sent_and_is_carried_out(command: Command) -> None:
    fake = FakeService()
    fake.promote(1)
    arrived = read(json.loads(message(command)))
    assert arrived == command
    assert dispatch(arrived, fake.context).group == GROUP


@pytest.mark.parametrize(("event", "field"), [
    ({}, "operation"),
    ({"operation": "approve", "arguments": {}}, "operation"),
    ({"operation": ["register"]}, "operation"),
    ({"operation": "failure", "arguments": []}, "arguments"),
    ({"operation": "failure", "arguments": "x"}, "arguments"),
    ({"operation": "failure", "arguments": {"group": GROUP}}, "failure"),
    ({"operation": "inference", "arguments": {"group": GROUP, "version": "1", "evidence": {"source": "inference"}}}, "version"),
])  # fmt: skip
def test_a_command_that_is_none_is_refused_with_its_field(event: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(event)
    assert refused.value.field == field


def test_a_group_that_is_not_governed_is_not_registered() -> None:
    fake = FakeService()
    fake.config = msgspec.structs.replace(fake.config, groups=("churn-*",))
    with pytest.raises(Invalid, match="not governed"):
        dispatch(COMMANDS[0], fake.context)
