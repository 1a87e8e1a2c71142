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
from promotion.ledger.verify import Mismatch
from tests.fakes import BEGINNING, GROUP, PREFIX, FakeService, as_client

LIVE, VERSION = f"{PREFIX}/{GROUP}/prod/live", f"{PREFIX}/{GROUP}/versions/1"


class Reads:
    """The ledger of a service, and from which event on it was read."""

    def __init__(self, fake: FakeService) -> None:
        self._ledger, self.since = fake.ledger, list[int]()

    def __getattr__(self, name: str) -> Any:
        if name == "events":
            return self._events
        return getattr(self._ledger, name)

    def _events(self, group: str, *, after: int = 0) -> Any:
        self.since.append(after)
        return self._ledger.events(group, after=after)


def verified(fake: FakeService, since: Checkpoint, ledger: Any = None) -> tuple[list[Mismatch], Checkpoint | None]:
    verifier = fake.verifier
    if ledger is not None:
        verifier = replace(verifier, ledger=ledger)
    return verifier.verified(
        since,
        parameters=dict(read_below(as_client(fake.ssm), f"{PREFIX}/{GROUP}")),
        anchors=fake.anchors,
        cursors=fake.cursors.read(GROUP),
    )


def checkpoint(fake: FakeService, since: Checkpoint | None = None) -> Checkpoint:
    """The next checkpoint, as it is read from where it was kept."""
    found, made = verified(fake, since or Checkpoint(group=GROUP, whole_at=fake.now))
    assert ([each.difference.line for each in found], made is not None) == ([], True)
    assert made is not None
    read = read_checkpoint(made.text(), GROUP)
    assert read is not None
    assert read.text() == made.text(), "it is kept as it is read"
    return read


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2, to="test")
    fake.project()
    return fake


def test_only_new_events_are_read(fake: FakeService) -> None:
    since = checkpoint(fake)
    fake.promote(3)
    fake.project()
    reads = Reads(fake)
    found, made = verified(fake, since, reads)
    assert found == []
    assert reads.since == [since.sequence]
    assert made is not None
    assert made.sequence == fake.ledger.head(GROUP).sequence
    assert made.whole_at == since.whole_at


def test_nothing_new_is_no_difference(fake: FakeService) -> None:
    since = checkpoint(fake)
    assert checkpoint(fake, since) == since


def test_days_of_runs_that_are_folded_on_the_way_go_on_from_each_other(fake: FakeService) -> None:
    since = checkpoint(fake)
    for day in range(70):
        fake.later(days=1)
        for name in ("dev", "test", "prod"):
            fake.measure(fake.live(name) or 1, name, run=f"{name}-{day}")
        fake.project()
        since = checkpoint(fake, since)
    whole = checkpoint(fake)
    assert (since.environments, since.versions, since.histories) == (
        whole.environments,
        whole.versions,
        whole.histories,
    )


def edit_parameter(fake: FakeService) -> None:
    fake.ssm.values[LIVE] = dump({**json.loads(fake.ssm.values[LIVE]), "approved_by": ["eve"]})


def edit_an_old_history(fake: FakeService) -> None:
    document = json.loads(fake.ssm.values[VERSION])
    document["history"][0]["actor"] = "eve"
    fake.ssm.values[VERSION] = dump(document)


def edit_a_stored_state(fake: FakeService) -> None:
    fake.ledger.alter(GROUP, "ENV#prod", live=2)


def alter_a_new_event(fake: FakeService) -> None:
    fake.ledger.alter(GROUP, f"EVENT#{fake.ledger.head(GROUP).sequence:010d}", version=1)


def cut_the_tail(fake: FakeService) -> None:
    del fake.ledger.items[GROUP, f"EVENT#{fake.ledger.head(GROUP).sequence:010d}"]


def flip_a_status(fake: FakeService) -> None:
    fake.sagemaker.packages[fake.view().version(3).package.arn]["ModelApprovalStatus"] = names.REJECTED


@pytest.mark.parametrize(
    "tamper",
    [edit_parameter, edit_an_old_history, edit_a_stored_state, alter_a_new_event, cut_the_tail, flip_a_status],
)
def test_it_finds_all_differences_of_a_whole_verification(fake: FakeService, tamper: Any) -> None:
    since = checkpoint(fake)
    fake.promote(3)
    fake.project()
    tamper(fake)
    found, made = verified(fake, since)
    assert [each.difference.line for each in found] == fake.lines()
    assert found
    assert made is None


def test_a_difference_is_repaired_as_by_a_whole_one(fake: FakeService) -> None:
    since = checkpoint(fake)
    fake.promote(3)
    fake.project()
    del fake.ssm.values[VERSION]
    [found], _ = verified(fake, since)
    assert found.repair is not None
    found.repair()
    assert fake.lines() == []
    assert verified(fake, since)[0] == []


def test_an_older_copy_put_back_is_told(fake: FakeService) -> None:
    older = dict(fake.ledger.items)
    fake.promote(3)
    fake.project()
    since = checkpoint(fake)
    fake.ledger.items = older
    found, _ = verified(fake, since)
    assert all(each.difference.what == "ledger" for each in found)
    assert found


def test_a_checkpoint_of_another_fold_or_group_or_none_is_none(fake: FakeService) -> None:
    since = checkpoint(fake)
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
    fake, since, version = FakeService(), None, 2
    fake.promote(1, to="dev")
    fake.promote(2, to="dev")
    for number, act in enumerate(acts):
        fake.later(hours=1)
        if act == "run":
            fake.measure(fake.live("dev") or 1, "dev", run=f"run-{number}")
        elif act == "climb":
            version += 1
            fake.promote(version, to="dev")
        elif act == "back":
            fake.roll_back("dev", to=1 if fake.live("dev") != 1 else 2)
        fake.project()
        if act == "check":
            since = checkpoint(fake, since)
    whole = checkpoint(fake)
    assert replace(checkpoint(fake, since), whole_at=None) == replace(whole, whole_at=None)
