"""The page of a request and the board cost what is open and what they show, not what exists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import time_machine

from promotion.aws.ledger_table.ledger_items import active_key, environment_item
from promotion.domain.model import EnvironmentState
from promotion.rendering.documents.board import GROUPS_ON_A_PAGE
from tests.faults.simulation import BEGINNING, Simulation, simulation


def test_the_next_request_is_found_without_reading_the_whole_board(tmp_path: Path) -> None:
    read: list[str] = []

    def watch(name: str, given: dict[str, Any]) -> bool:
        read.append(str(given.get("ExpressionAttributeValues", "")) if "IndexName" in given else "")
        return False

    with simulation(tmp_path) as service:
        for group in ("closed", "open"):
            with service.without_faults():
                boto3.client("sagemaker").create_model_package_group(ModelPackageGroupName=group)
        service.register(group="closed")
        service.settle()
        with time_machine.travel(BEGINNING + timedelta(days=4), tick=True):
            service.sweep()
            service.register(group="open")
            service.register()
            service.settle()
            assert service.decide(1, "dev") == 303
            service.settle()
        with time_machine.travel(BEGINNING + timedelta(days=4, hours=1), tick=True):
            service.fails_if = watch
            page = service.look(1, "dev")
    assert "Next: open v1 for dev" in page
    assert [each for each in read if each] == ["{':pk': {'S': 'OPEN'}}"]


def put(service: Simulation, states: Iterable[EnvironmentState]) -> None:
    """Write states beside the ledger's own, with the heads of active groups."""
    with service.without_faults():
        client = boto3.client("dynamodb")
        items = [environment_item(state) for state in states]
        heads = {state.group: active_key(state.group) for state in states if state.is_active}
        items += [{"pk": {"S": f"GROUP#{group}"}, "sk": {"S": "HEAD"}, **key} for group, key in heads.items()]
        for start in range(0, len(items), 25):
            requests: Any = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            client.batch_write_item(RequestItems={"ledger": requests})


def quiet(count: int) -> list[EnvironmentState]:
    return [
        EnvironmentState(group=f"group-{number:04d}", name=name, live=1)
        for number in range(count)
        for name in ("dev", "test", "prod")
    ]


def troubled() -> list[EnvironmentState]:
    return [
        EnvironmentState(group="group-0031", name="prod", live=1, drift=True, drift_since=BEGINNING),
        EnvironmentState(group="zebra", name="dev", live=1, broken_since=BEGINNING),
    ]


def read(service: Simulation, address: str = "/") -> dict[str, Any]:
    parts = urlsplit(address)
    found: dict[str, Any] = json.loads(service.open(parts.path, query=parts.query, accept="application/json"))
    return found


def calls_of(folder: Path, groups: int, address: str) -> tuple[Counter[str], list[str]]:
    folder.mkdir()
    with simulation(folder) as service, time_machine.travel(BEGINNING, tick=True):
        put(service, [*quiet(groups), *troubled()])
        read(service)
        service.calls.clear()
        found = read(service, address)
        return Counter(service.calls), [cell["group"] for cell in found["attention"]]


@pytest.mark.parametrize("address", ["/", "/?after=group-0010", "/?show=waiting", "/?show=trouble"])
def test_a_boards_calls_do_not_grow_with_what_is_quiet(tmp_path: Path, address: str) -> None:
    few, many = calls_of(tmp_path / "few", 50, address), calls_of(tmp_path / "many", 1_000, address)
    assert few == many
    assert few[1] == (["zebra", "group-0031"] if "waiting" not in address else few[1])
    assert few[0]["dynamodb:Query"] <= 3
    assert few[0]["dynamodb:BatchGetItem"] == 1


def test_the_links_of_the_board_lead_over_every_group_and_back(tmp_path: Path) -> None:
    with simulation(tmp_path) as service, time_machine.travel(BEGINNING, tick=True):
        put(service, [*quiet(250), *troubled()])
        pages = [read(service)]
        while pages[-1]["links"]["next"]:
            pages.append(read(service, pages[-1]["links"]["next"]))
        seen = [[row["group"] for row in page["groups"]] for page in pages]
        assert list(chain(*seen)) == [*(f"group-{number:04d}" for number in range(250)), "zebra"]
        assert [len(page) for page in seen] == [GROUPS_ON_A_PAGE, GROUPS_ON_A_PAGE, 51]
        back = [pages[-1]]
        while back[-1]["links"]["previous"]:
            back.append(read(service, back[-1]["links"]["previous"]))
        assert [[row["group"] for row in page["groups"]] for page in reversed(back)] == seen
        assert {page["attention_total"] for page in pages} == {2}
        # Numbered pages, of addresses that were kept and of filters.
        assert [row["group"] for row in read(service, "/?page=3")["groups"]] == seen[2]
        filtered = read(service, "/?q=group&page=2")
        assert (filtered["groups_found"], filtered["groups_total"], filtered["page"]) == (250, 251, 2)
        assert filtered["links"]["next"] == "/?q=group&page=3"
        shown = [row["group"] for row in read(service, "/?show=trouble")["groups"]]
        assert shown == ["group-0031", "zebra"]
