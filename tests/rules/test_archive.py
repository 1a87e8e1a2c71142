"""Older versions and older pages go to the archive, with the same events and hashes, and come back when they are needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from promotion import names
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.parameter_store.stored_parameters import read_below
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.config.loading import parse
from promotion.ledger.archive import FIELD, ArchivedVersion, may_be_archived
from promotion.ledger.archive import read_history as read_archived
from promotion.ledger.checkpoint import Checkpoint
from promotion.ledger.folded_runs import FIELD as RUNS
from promotion.ledger.folded_runs import counted_events
from promotion.ledger.parameter_documents import PAGE_BYTES, entry
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, PREFIX, FakeService, as_client
from tests.rules.histories import read_history

KEPT = parse(f"{CONFIG_TEXT}\n[history]\nkeep_versions = 3\n")
ARCHIVE = f"{PREFIX}/{GROUP}/archive"
VERSIONS = f"{PREFIX}/{GROUP}/versions"


def climbed(versions: int, config: Any = KEPT) -> FakeService:
    fake = FakeService(config)
    for version in range(1, versions + 1):
        fake.promote(version)
        fake.project()
    return fake


def present(fake: FakeService) -> set[int]:
    names_ = (name.removeprefix(f"{VERSIONS}/") for name in fake.ssm.values if name.startswith(VERSIONS))
    return {int(name) for name in names_ if name.isdigit()}


def told(fake: FakeService, version: int) -> list[dict[str, Any]]:
    return [entry(event) for event in fake.events() if event.version == version]


def history(fake: FakeService, version: int) -> list[dict[str, object]]:
    return read_history(as_client(fake.ssm), PREFIX, GROUP, version, bucket=fake.evidence)


def whole(fake: FakeService) -> None:
    """Every version reads as the ledger has it, and verification finds nothing."""
    assert fake.lines() == []
    for state in fake.ledger.versions(GROUP):
        found = history(fake, state.version)
        assert counted_events(found) == len(told(fake, state.version))
        if not any(RUNS in each for each in found):
            assert found == told(fake, state.version)


def test_live_pending_and_the_newest_versions_stay() -> None:
    fake = climbed(7)
    fake.roll_back("dev", to=2)
    fake.measure(1, "dev", run="again")
    assert may_be_archived(fake.view(), set(range(1, 8)), 3) == [1, 3, 4]
    assert may_be_archived(fake.view(), {7}, 3) == []


def test_older_versions_have_no_parameters_and_the_same_events_and_hashes() -> None:
    fake = climbed(8)
    assert present(fake) == {6, 7, 8}
    assert not any("/history/" in name for name in fake.ssm.values)
    whole(fake)
    first = history(fake, 1)
    assert [each["hash"] for each in first] == [event.hash for event in fake.events() if event.version == 1]


def test_everything_stays_by_default() -> None:
    fake = climbed(8, CONFIG)
    assert present(fake) == set(range(1, 9))
    assert ARCHIVE not in fake.ssm.values
    assert not any(key.startswith(names.ARCHIVES) for key in fake.s3.objects)


def test_a_version_that_runs_daily_takes_one_parameter() -> None:
    fake = climbed(1)
    for day in range(90):
        for name in ("dev", "test", "prod"):
            fake.later(minutes=1)
            fake.measure(1, name, run=f"{name}-day-{day}")
        fake.project()
    assert sorted(fake.ssm.values) == sorted(
        [ARCHIVE, f"{VERSIONS}/1", *(f"{PREFIX}/{GROUP}/{name}/live" for name in ("dev", "test", "prod"))]
    )
    assert all(len(value.encode()) <= PAGE_BYTES for value in fake.ssm.values.values())
    whole(fake)
    assert json.loads(fake.ssm.values[f"{VERSIONS}/1"])[FIELD]


def test_versions_of_before_the_setting_go_a_few_at_a_time() -> None:
    fake = climbed(12, CONFIG)
    fake.config = KEPT
    fake.measure(12, "dev", run="next")
    fake.project()
    assert present(fake) == set(range(6, 13))
    fake.measure(12, "dev", run="and-next")
    fake.project()
    assert present(fake) == {10, 11, 12}
    whole(fake)


def test_without_the_setting_again_what_is_archived_stays_and_goes_on() -> None:
    fake = climbed(6)
    fake.config = CONFIG
    fake.measure(1, "dev", run="late")
    fake.promote(7)
    fake.project()
    assert present(fake) == {4, 5, 6, 7}
    whole(fake)
    fake.roll_back("prod", to=1)
    for number in range(40):
        fake.measure(1, "prod", run=f"run-{number}")
        fake.project()
    assert 1 in present(fake)
    whole(fake)


def test_a_version_that_is_rolled_back_to_has_a_parameter_again() -> None:
    fake = climbed(6)
    fake.roll_back("prod", to=1)
    fake.project()
    assert present(fake) == {1, 4, 5, 6}
    whole(fake)
    assert len(json.loads(fake.ssm.values[f"{VERSIONS}/1"])["history"]) == 1
    fake.roll_back("prod", to=6)
    fake.project()
    assert present(fake) == {4, 5, 6}
    whole(fake)


def test_events_of_an_archived_version_are_added_to_the_archive() -> None:
    fake = climbed(6)
    before = history(fake, 1)
    fake.measure(1, "dev", run="late")
    fake.revoke(1)
    fake.project()
    assert present(fake) == {4, 5, 6}
    assert history(fake, 1)[: len(before)] == before
    assert [each["kind"] for each in history(fake, 1)[len(before) :]] == ["Inference Completed", "Model Revoked"]
    whole(fake)


def test_a_version_that_is_fallen_back_to_has_a_parameter_again_without_an_event_of_its_own() -> None:
    fake = climbed(6)
    for version in (6, 5, 4):
        fake.revoke(version)
        fake.project()
    assert fake.live("prod") == 3
    assert present(fake) == {3, 4, 5, 6}
    whole(fake)
    del fake.ssm.values[f"{VERSIONS}/3"]
    [line] = fake.lines()
    assert line.startswith(f"parameter {VERSIONS}/3: expected v3 with")
    for found in fake.verify():
        assert found.repair is not None
        found.repair()
    whole(fake)
    assert present(fake) == {3, 4, 5, 6}


def test_a_version_that_is_asked_for_again_has_a_parameter_again() -> None:
    fake = FakeService(KEPT)
    for version in range(1, 6):
        fake.register(version)
        fake.decide(version, "dev", verdict=names.REJECTED)
        fake.project()
    assert present(fake) == {3, 4, 5}
    fake.register(6)
    fake.decide(6, "dev")
    fake.measure(6, "dev", run="first")
    fake.project()
    whole(fake)
    assert fake.view().environment("test").pending == 6


def test_a_rebuild_changes_nothing() -> None:
    fake = climbed(8)
    before, objects = dict(fake.ssm.values), set(fake.s3.objects)
    fake.cursors.reset(GROUP, names.PARAMETERS)
    fake.project()
    assert fake.ssm.values == before
    assert set(fake.s3.objects) == objects
    whole(fake)


def test_a_verification_goes_on_from_a_checkpoint_without_reading_what_is_archived() -> None:
    fake = climbed(8)
    parameters = dict(read_below(as_client(fake.ssm), f"{PREFIX}/{GROUP}"))
    found, made = fake.verifier.verified(Checkpoint(group=GROUP), parameters=parameters)
    assert found == []
    assert made is not None
    fake.measure(8, "dev", run="next")
    fake.project()
    read: list[str] = []

    def seen(key: str) -> bytes | None:
        read.append(key)
        return fake.evidence.text(key)

    verifier = fake.verifier
    again = type(verifier)(
        **{field: getattr(verifier, field) for field in verifier.__struct_fields__ if field != "archived"},
        archived=seen,
    )
    parameters = dict(read_below(as_client(fake.ssm), f"{PREFIX}/{GROUP}"))
    assert again.verified(made, parameters=parameters)[0] == []
    assert {key.split("/")[1] for key in read} <= {f"{GROUP}.index", f"{GROUP}.v8"}


class Dies(Exception):
    pass


class Mortal:
    """A client whose process dies before its n-th write."""

    def __init__(self, client: Any, left: list[int]) -> None:
        self._client, self._left = client, left

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in ("put_parameter", "delete_parameter", "put_object"):
            return found

        def call(**given: Any) -> Any:
            if self._left[0] == 0:
                raise Dies
            self._left[0] -= 1
            return found(**given)

        return call


def dying(fake: FakeService, writes: int) -> ParameterTarget:
    left = [writes]
    bucket = EvidenceBucket(as_client(Mortal(fake.s3, left)), "evidence")
    ssm = as_client(Mortal(fake.ssm, left))
    return ParameterTarget(ssm, fake.signer, PREFIX, ledger=fake.ledger, bucket=bucket, keep_versions=3)


def into_the_archive(fake: FakeService) -> None:
    fake.register(7)


def back_from_it(fake: FakeService) -> None:
    fake.roll_back("prod", to=1)


def into_what_is_there(fake: FakeService) -> None:
    fake.revoke(1)


@pytest.mark.parametrize("happens", [into_the_archive, back_from_it, into_what_is_there])
def test_a_process_that_dies_at_any_write_loses_and_doubles_nothing(happens: Callable[[FakeService], None]) -> None:
    """It dies before each write in turn; nothing is missing then, another event comes, and the next try ends it."""
    died = 0
    while True:
        # Of before the setting, so that there are pages to delete too.
        fake = climbed(6, CONFIG)
        for number in range(12):
            for version in (1, 2):
                fake.measure(version, "dev", run=f"run-{number}")
        fake.project()
        assert f"{VERSIONS}/1/history/0001" in fake.ssm.values
        fake.config = KEPT
        if happens is not into_the_archive:
            fake.project(targets={names.PARAMETERS: fake.parameters})
            fake.measure(6, "dev", run="moves-the-others")
            fake.project()
        happens(fake)
        before = {number: told(fake, number) for number in range(1, 7)}
        failures = fake.project(targets={names.PARAMETERS: dying(fake, died)})
        for number, entries in before.items():
            found = history(fake, number)
            assert found == entries[: len(found)]
            assert len(found) >= len(entries) - 1
        fake.measure(6, "test", run="later")
        fake.project()
        whole(fake)
        assert present(fake) >= {5, 6}
        if not failures:
            break
        died += 1
    assert died > 1


def without_pages() -> FakeService:
    return climbed(1)


def with_pages_of_before_the_setting() -> FakeService:
    fake = climbed(1, CONFIG)
    for number in range(12):
        fake.measure(1, "dev", run=f"before-{number}")
    fake.project()
    assert f"{VERSIONS}/1/history/0001" in fake.ssm.values
    fake.config = KEPT
    return fake


@pytest.mark.parametrize("begun", [without_pages, with_pages_of_before_the_setting])
def test_dying_while_entries_of_a_kept_version_are_archived_loses_nothing(begun: Callable[[], FakeService]) -> None:
    for writes in range(40):
        fake = begun()
        for number in range(30):
            fake.measure(1, "dev", run=f"run-{number}")
        failures = fake.project(targets={names.PARAMETERS: dying(fake, writes)})
        fake.measure(1, "test", run="later")
        fake.project()
        whole(fake)
        if not failures:
            assert writes > 3
            return
    raise AssertionError("it never came to an end")


class Meanwhile:
    """Parameter Store, where something happens before the read number `reads`."""

    def __init__(self, client: Any, reads: int, happens: Callable[[], None]) -> None:
        self._client, self._left, self._happens = client, reads, happens

    def __getattr__(self, name: str) -> Any:
        if name in ("get_parameter", "get_paginator"):
            self._left -= 1
            if self._left == 0:
                self._happens()
        return getattr(self._client, name)


def the_version_goes(fake: FakeService) -> None:
    fake.promote(5)
    fake.project()


def its_older_entries_go(fake: FakeService) -> None:
    for number in range(15):
        fake.measure(1, "dev", run=f"run-{number}")
    fake.project()


@pytest.mark.parametrize("happens", [the_version_goes, its_older_entries_go])
@pytest.mark.parametrize("reads", [1, 2, 3, 4])
def test_a_reader_misses_nothing_that_is_archived_meanwhile(reads: int, happens: Callable[[FakeService], None]) -> None:
    fake = climbed(3)
    fake.promote(4)
    before = told(fake, 1)
    client = as_client(Meanwhile(fake.ssm, reads, lambda: happens(fake)))
    found = read_history(client, PREFIX, GROUP, 1, bucket=fake.evidence)
    assert found[: len(before)] == before


def test_a_version_that_is_nowhere_is_an_error() -> None:
    fake = climbed(1)
    with pytest.raises(fake.ssm.exceptions.ParameterNotFound):
        history(fake, 2)


def test_an_archived_history_that_is_named_and_damaged_is_none() -> None:
    for text in (b"{", b"[]", b"\xff"):
        named = ArchivedVersion(object="archives/1.json", sha256=hashlib.sha256(text).hexdigest(), last=9)
        assert read_archived(text, named) is None
