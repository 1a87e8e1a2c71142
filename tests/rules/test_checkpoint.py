"""A verification goes on from the last one that found nothing, and finds in what is new what a whole one finds."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from promotion import names
from promotion.aws.parameter_store.stored_parameters import read_below
from promotion.domain.model import FOLD_VERSION
from promotion.ledger.checkpoint import WHOLE_EVERY, Checkpoint, read_checkpoint
from promotion.ledger.parameter_documents import dump
from promotion.ledger.verify import Found
from tests.fakes import BEGINNING, GROUP, PREFIX, House, as_client

LIVE, VERSION = f"{PREFIX}/{GROUP}/prod/live", f"{PREFIX}/{GROUP}/versions/1"


class Reads:
    """The ledger of a house, and from which event on it was read."""

    def __init__(self, house: House) -> None:
        self._ledger, self.since = house.ledger, list[int]()

    def __getattr__(self, name: str) -> Any:
        if name == "events":
            return self._events
        return getattr(self._ledger, name)

    def _events(self, group: str, *, after: int = 0) -> Any:
        self.since.append(after)
        return self._ledger.events(group, after=after)


def verified(house: House, since: Checkpoint, ledger: Any = None) -> tuple[list[Found], Checkpoint | None]:
    verifier = house.verifier
    if ledger is not None:
        verifier = replace(verifier, ledger=ledger)
    return verifier.verified(
        since,
        parameters=dict(read_below(as_client(house.ssm), f"{PREFIX}/{GROUP}")),
        anchors=house.anchors,
        cursors=house.cursors.read(GROUP),
    )


def checkpoint(house: House, since: Checkpoint | None = None) -> Checkpoint:
    """The next checkpoint, as it is read from where it was kept."""
    found, made = verified(house, since or Checkpoint(group=GROUP, whole_at=house.now))
    assert ([each.difference.line for each in found], made is not None) == ([], True)
    assert made is not None
    read = read_checkpoint(made.text(), GROUP)
    assert read is not None
    assert read.text() == made.text(), "it is kept as it is read"
    return read


@pytest.fixture
def house() -> House:
    house = House()
    house.climb(1)
    house.climb(2, to="test")
    house.project()
    return house


def test_only_new_events_are_read(house: House) -> None:
    since = checkpoint(house)
    house.climb(3)
    house.project()
    reads = Reads(house)
    found, made = verified(house, since, reads)
    assert found == []
    assert reads.since == [since.sequence]
    assert made is not None
    assert made.sequence == house.ledger.head(GROUP).sequence
    assert made.whole_at == since.whole_at


def test_nothing_new_is_no_difference(house: House) -> None:
    since = checkpoint(house)
    assert checkpoint(house, since) == since


def test_days_of_runs_that_are_folded_on_the_way_go_on_from_each_other(house: House) -> None:
    since = checkpoint(house)
    for day in range(70):
        house.later(days=1)
        for name in ("dev", "test", "prod"):
            house.measure(house.live(name) or 1, name, run=f"{name}-{day}")
        house.project()
        since = checkpoint(house, since)
    whole = checkpoint(house)
    assert (since.environments, since.versions, since.histories) == (
        whole.environments,
        whole.versions,
        whole.histories,
    )


def edit_parameter(house: House) -> None:
    house.ssm.values[LIVE] = dump({**json.loads(house.ssm.values[LIVE]), "approved_by": ["eve"]})


def edit_an_old_history(house: House) -> None:
    document = json.loads(house.ssm.values[VERSION])
    document["history"][0]["actor"] = "eve"
    house.ssm.values[VERSION] = dump(document)


def edit_a_stored_state(house: House) -> None:
    house.ledger.alter(GROUP, "ENV#prod", live=2)


def alter_a_new_event(house: House) -> None:
    house.ledger.alter(GROUP, f"EVENT#{house.ledger.head(GROUP).sequence:010d}", version=1)


def cut_the_tail(house: House) -> None:
    del house.ledger.items[GROUP, f"EVENT#{house.ledger.head(GROUP).sequence:010d}"]


def flip_a_status(house: House) -> None:
    house.sagemaker.packages[house.view().version(3).package.arn]["ModelApprovalStatus"] = names.REJECTED


@pytest.mark.parametrize(
    "tamper",
    [edit_parameter, edit_an_old_history, edit_a_stored_state, alter_a_new_event, cut_the_tail, flip_a_status],
)
def test_it_finds_all_differences_of_a_whole_verification(house: House, tamper: Any) -> None:
    since = checkpoint(house)
    house.climb(3)
    house.project()
    tamper(house)
    found, made = verified(house, since)
    assert [each.difference.line for each in found] == house.lines()
    assert found
    assert made is None


def test_a_difference_is_repaired_as_by_a_whole_one(house: House) -> None:
    since = checkpoint(house)
    house.climb(3)
    house.project()
    del house.ssm.values[VERSION]
    [found], _ = verified(house, since)
    assert found.repair is not None
    found.repair()
    assert house.lines() == []
    assert verified(house, since)[0] == []


def test_an_older_copy_put_back_is_told(house: House) -> None:
    older = dict(house.ledger.items)
    house.climb(3)
    house.project()
    since = checkpoint(house)
    house.ledger.items = older
    found, _ = verified(house, since)
    assert all(each.difference.what == "ledger" for each in found)
    assert found


def test_a_checkpoint_of_another_fold_or_group_or_none_is_none(house: House) -> None:
    since = checkpoint(house)
    assert read_checkpoint(replace(since, fold=FOLD_VERSION + 1).text(), GROUP) is None
    assert read_checkpoint(since.text(), "other") is None
    assert read_checkpoint(b"[", GROUP) is None
    assert read_checkpoint(Checkpoint(group=GROUP).text(), GROUP) is None


def test_all_of_it_is_verified_once_a_month() -> None:
    since = Checkpoint(group=GROUP, sequence=1, whole_at=BEGINNING)
    assert not since.is_due(BEGINNING + WHOLE_EVERY - timedelta(hours=1))
    assert since.is_due(BEGINNING + WHOLE_EVERY)
    assert since.is_due(BEGINNING - timedelta(days=1)), "a clock that went back"
    assert Checkpoint(group=GROUP).is_due(BEGINNING)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["run", "climb", "back", "check"]), min_size=4, max_size=14))
def test_any_course_verified_step_by_step_is_verified_as_a_whole(acts: list[str]) -> None:
    house, since, version = House(), None, 2
    house.climb(1, to="dev")
    house.climb(2, to="dev")
    for number, act in enumerate(acts):
        house.later(hours=1)
        if act == "run":
            house.measure(house.live("dev") or 1, "dev", run=f"run-{number}")
        elif act == "climb":
            version += 1
            house.climb(version, to="dev")
        elif act == "back":
            house.roll_back("dev", to=1 if house.live("dev") != 1 else 2)
        house.project()
        if act == "check":
            since = checkpoint(house, since)
    whole = checkpoint(house)
    assert replace(checkpoint(house, since), whole_at=None) == replace(whole, whole_at=None)
