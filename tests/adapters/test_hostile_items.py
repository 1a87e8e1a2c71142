"""Hostile values in a group's items of the ledger's table: each is a difference of that group that `verify` names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from msgspec.structs import replace

from lambdas.handlers import verify
from promotion.aws.ledger_table.checking import check
from tests.fakes import GROUP
from tests.faults.simulation import Simulation, simulation
from tests.rules.test_hostile_data import HOSTILE

# An item, its attribute, and how the line of its difference begins.
PLACES = [
    ("ENV#dev", "state", f"ledger {GROUP}"),
    ("VERSION#0000000001", "state", f"ledger {GROUP}"),
    ("EVENT#0000000002", "state", f"ledger {GROUP}"),
    ("EVENT#0000000002", "hash", f"ledger {GROUP}"),
    ("HEAD", "state", f"ledger {GROUP}: expected events that can be read"),
    ("HEAD", "hash", f"ledger {GROUP} head, hash: expected "),
    ("HEAD", "sequence", f"ledger {GROUP} head, sequence: expected "),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    """Version 1, live in dev, everything projected."""
    with simulation(tmp_path_factory.mktemp("service")) as made:
        made.register()
        made.settle()
        made.promote(1, "dev")
        assert differences(made) == []
        yield made


def differences(service: Simulation) -> list[str]:
    """The lines of a verification from the first event, as the command makes it."""
    with service.without_faults():
        whole = replace(verify.installation(), checkpoints=None)
        found = [(group, each.difference.line) for group, differing in check(whole) for each in differing]
    assert {group for group, _ in found} <= {GROUP}
    return [line for _, line in found]


def differences_with(service: Simulation, key: str, attribute: str, value: dict[str, str] | None) -> list[str]:
    """The lines of a verification with another value in an attribute; None takes the attribute away."""
    table: Any = boto3.client("dynamodb")
    place = {"pk": {"S": f"GROUP#{GROUP}"}, "sk": {"S": key}}
    with service.without_faults():
        before = table.get_item(TableName="ledger", Key=place, ConsistentRead=True)["Item"]
        assert attribute in before
        changed = {**before, attribute: value}
        table.put_item(TableName="ledger", Item={name: each for name, each in changed.items() if each})
    try:
        return differences(service)
    finally:
        with service.without_faults():
            table.put_item(TableName="ledger", Item=before)


@pytest.mark.parametrize(("key", "attribute", "told"), PLACES, ids=[f"{key} {name}" for key, name, _ in PLACES])
@pytest.mark.parametrize("value", [{"S": value} for value in HOSTILE.values()] + [None], ids=[*HOSTILE, "nothing"])
def test_a_hostile_item_is_a_difference_of_its_group(
    service: Simulation, key: str, attribute: str, told: str, value: dict[str, str] | None
) -> None:
    lines = differences_with(service, key, attribute, value)
    assert any(line.startswith(told) for line in lines), lines
    assert differences(service) == []


def test_another_number_beside_the_head_is_named(service: Simulation) -> None:
    """The condition of an append reads it: nobody could append any more."""
    [line] = differences_with(service, "HEAD", "sequence", {"N": "1"})
    assert line.startswith(f"ledger {GROUP} head, sequence: expected ")
    assert line.endswith(", found 1")
