"""The restore drill: the ledger's table is lost and restored to a copy of before, while the targets are ahead of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from promotion.cli import checking, main
from tests.fakes import ANN, CHO, GROUP, PREFIX
from tests.faults import resources
from tests.faults.command_service import service_for_command
from tests.faults.simulation import Simulation


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """Version 1 live in test, and the command finds the service."""
    with service_for_command(tmp_path, monkeypatch, live="test") as made:
        monkeypatch.setattr(checking, "wake", lambda groups: woken(made, groups))
        yield made


def woken(made: Simulation, groups: Any) -> None:
    """The queue delivers at once: nobody else would, while a command waits."""
    for group in groups:
        resources.function("on_projection_due")(
            {
                "Records": [
                    {
                        "body": json.dumps({"group": group}), "messageId": "m", "receiptHandle": "r",
                        "attributes": {"ApproximateReceiveCount": "4"},
                    }
                ]
            },
            None,
        )  # fmt: skip


def items() -> list[dict[str, Any]]:
    return list(boto3.client("dynamodb").scan(TableName="ledger")["Items"])


def lose_and_restore(copy: list[dict[str, Any]]) -> None:
    """The table is gone; another of the same name has what the copy had."""
    dynamodb = boto3.client("dynamodb")
    described = dynamodb.describe_table(TableName="ledger")["Table"]
    dynamodb.delete_table(TableName="ledger")
    dynamodb.create_table(
        TableName="ledger",
        KeySchema=described["KeySchema"],
        AttributeDefinitions=described["AttributeDefinitions"],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[
            {"IndexName": index["IndexName"], "KeySchema": index["KeySchema"], "Projection": index["Projection"]}
            for index in described["GlobalSecondaryIndexes"]
        ],
    )
    for item in copy:
        dynamodb.put_item(TableName="ledger", Item=item)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(arguments)
    return code, capsys.readouterr().out


def test_a_lost_ledger_is_restored_and_goes_on(running: Simulation, capsys: pytest.CaptureFixture[str]) -> None:
    copy = items()
    running.measure(1, "test")
    running.settle()
    for person in (ANN, CHO):
        assert running.decide(1, "prod", person) == 303
    running.settle()
    assert said(capsys, "resolve", GROUP, "prod")[0] == 0
    lose_and_restore(copy)

    code, lines = said(capsys, "verify", GROUP)
    assert code == 1
    assert "its tail was cut, or an older copy restored" in lines, "what was lost is told by what was signed for it"

    running.dead.clear()
    woken(running, [GROUP])
    assert running.dead, "the projector does not go on from a cursor that is ahead"

    code, lines = said(capsys, "rebuild", GROUP)
    assert (code, f"{GROUP}: rebuilt to event" in lines) == (0, True)

    # The promotion that the copy does not have is still in Parameter Store, under a signature that holds: people decide anew.
    code, lines = said(capsys, "verify", GROUP)
    assert code == 1
    assert f"{PREFIX}/{GROUP}/prod/live was signed for" in lines
    # SQS remembers for five minutes what it took; a restored table takes longer.
    running.deduplicated.clear()
    running.measure(1, "test")
    running.settle()
    for person in (ANN, CHO):
        assert running.decide(1, "prod", person) == 303
    running.settle()
    code, lines = said(capsys, "verify", GROUP, "--repair")
    assert (code, f"repaired parameter {PREFIX}/{GROUP}/versions/1" in lines) == (0, True), lines
    assert said(capsys, "verify", GROUP) == (0, f"{GROUP} is as the ledger says.\n")
    assert said(capsys, "resolve", GROUP, "prod")[0] == 0
