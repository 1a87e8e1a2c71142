"""Older versions and older pages go to the archive, with the same events and hashes, and come back when they are needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from promotion import names
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.parameter_store.stored_parameters import read_below
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.config.loading import parse
from promotion.ledger.archive import FIELD, may_be_archived
from promotion.ledger.checkpoint import Checkpoint
from promotion.ledger.folded_runs import FIELD as RUNS
from promotion.ledger.folded_runs import counted_events
from promotion.ledger.parameter_documents import PAGE_BYTES, entry
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, PREFIX, House, as_client
from tests.rules.histories import read_history

KEPT = parse(f"{CONFIG_TEXT}\n[history]\nkeep_versions = 3\n")
ARCHIVE = f"{PREFIX}/{GROUP}/archive"
VERSIONS = f"{PREFIX}/{GROUP}/versions"


def climbed(versions: int, config: Any = KEPT) -> House:
    house = House(config)
    for version in range(1, versions + 1):
        house.climb(version)
        house.project()
    return house


def present(house: House) -> set[int]:
    names_ = (name.removeprefix(f"{VERSIONS}/") for name in house.ssm.values if name.startswith(VERSIONS))
    return {int(name) for name in names_ if name.isdigit()}


def told(house: House, version: int) -> list[dict[str, Any]]:
    return [entry(event) for event in house.events() if event.version == version]


def history(house: House, version: int) -> list[dict[str, object]]:
    return read_history(as_client(house.ssm), PREFIX, GROUP, version, bucket=house.evidence)


def whole(house: House) -> None:
    """Every version reads as the ledger has it, and verification finds nothing."""
    assert house.lines() == []
    for state in house.ledger.versions(GROUP):
        found = history(house, state.version)
        assert counted_events(found) == len(told(house, state.version))
        if not any(RUNS in each for each in found):
            assert found == told(house, state.version)


def test_live_pending_and_the_newest_versions_stay() -> None:
    house = climbed(7)
    house.roll_back("dev", to=2)
    house.measure(1, "dev", run="again")
    assert may_be_archived(house.view(), set(range(1, 8)), 3) == [1, 3, 4]
    assert may_be_archived(house.view(), {7}, 3) == []


def test_older_versions_have_no_parameters_and_the_same_events_and_hashes() -> None:
    house = climbed(8)
    assert present(house) == {6, 7, 8}
    assert not any("/history/" in name for name in house.ssm.values)
    whole(house)
    first = history(house, 1)
    assert [each["hash"] for each in first] == [event.hash for event in house.events() if event.version == 1]


def test_everything_stays_by_default() -> None:
    house = climbed(8, CONFIG)
    assert present(house) == set(range(1, 9))
    assert ARCHIVE not in house.ssm.values
    assert not any(key.startswith(names.ARCHIVES) for key in house.s3.objects)


def test_a_version_that_runs_daily_takes_one_parameter() -> None:
    house = climbed(1)
    for day in range(90):
        for name in ("dev", "test", "prod"):
            house.later(minutes=1)
            house.measure(1, name, run=f"{name}-day-{day}")
        house.project()
    assert sorted(house.ssm.values) == sorted(
        [ARCHIVE, f"{VERSIONS}/1", *(f"{PREFIX}/{GROUP}/{name}/live" for name in ("dev", "test", "prod"))]
    )
    assert all(len(value.encode()) <= PAGE_BYTES for value in house.ssm.values.values())
    whole(house)
    assert json.loads(house.ssm.values[f"{VERSIONS}/1"])[FIELD]


def test_versions_of_before_the_setting_go_a_few_at_a_time() -> None:
    house = climbed(12, CONFIG)
    house.config = KEPT
    house.measure(12, "dev", run="next")
    house.project()
    assert present(house) == set(range(6, 13))
    house.measure(12, "dev", run="and-next")
    house.project()
    assert present(house) == {10, 11, 12}
    whole(house)


def test_without_the_setting_again_what_is_archived_stays_and_goes_on() -> None:
    house = climbed(6)
    house.config = CONFIG
    house.measure(1, "dev", run="late")
    house.climb(7)
    house.project()
    assert present(house) == {4, 5, 6, 7}
    whole(house)
    house.roll_back("prod", to=1)
    for number in range(40):
        house.measure(1, "prod", run=f"run-{number}")
        house.project()
    assert 1 in present(house)
    whole(house)


def test_a_version_that_is_rolled_back_to_has_a_parameter_again() -> None:
    house = climbed(6)
    house.roll_back("prod", to=1)
    house.project()
    assert present(house) == {1, 4, 5, 6}
    whole(house)
    assert len(json.loads(house.ssm.values[f"{VERSIONS}/1"])["history"]) == 1
    house.roll_back("prod", to=6)
    house.project()
    assert present(house) == {4, 5, 6}
    whole(house)


def test_events_of_an_archived_version_are_added_to_the_archive() -> None:
    house = climbed(6)
    before = history(house, 1)
    house.measure(1, "dev", run="late")
    house.revoke(1)
    house.project()
    assert present(house) == {4, 5, 6}
    assert history(house, 1)[: len(before)] == before
    assert [each["kind"] for each in history(house, 1)[len(before) :]] == ["Inference Completed", "Model Revoked"]
    whole(house)


def test_a_version_that_is_fallen_back_to_has_a_parameter_again_without_an_event_of_its_own() -> None:
    house = climbed(6)
    for version in (6, 5, 4):
        house.revoke(version)
        house.project()
    assert house.live("prod") == 3
    assert present(house) == {3, 4, 5, 6}
    whole(house)
    del house.ssm.values[f"{VERSIONS}/3"]
    [line] = house.lines()
    assert line.startswith(f"parameter {VERSIONS}/3: expected v3 with")
    for found in house.verify():
        assert found.repair is not None
        found.repair()
    whole(house)
    assert present(house) == {3, 4, 5, 6}


def test_a_version_that_is_asked_for_again_has_a_parameter_again() -> None:
    house = House(KEPT)
    for version in range(1, 6):
        house.register(version)
        house.decide(version, "dev", verdict=names.REJECTED)
        house.project()
    assert present(house) == {3, 4, 5}
    house.register(6)
    house.decide(6, "dev")
    house.measure(6, "dev", run="first")
    house.project()
    whole(house)
    assert house.view().environment("test").pending == 6


def test_a_rebuild_changes_nothing() -> None:
    house = climbed(8)
    before, objects = dict(house.ssm.values), set(house.s3.objects)
    house.cursors.reset(GROUP, names.PARAMETERS)
    house.project()
    assert house.ssm.values == before
    assert set(house.s3.objects) == objects
    whole(house)


def test_a_verification_goes_on_from_a_checkpoint_without_reading_what_is_archived() -> None:
    house = climbed(8)
    parameters = dict(read_below(as_client(house.ssm), f"{PREFIX}/{GROUP}"))
    found, made = house.verifier.verified(Checkpoint(group=GROUP), parameters=parameters)
    assert found == []
    assert made is not None
    house.measure(8, "dev", run="next")
    house.project()
    read: list[str] = []

    def seen(key: str) -> bytes | None:
        read.append(key)
        return house.evidence.text(key)

    verifier = house.verifier
    again = type(verifier)(
        **{field: getattr(verifier, field) for field in verifier.__struct_fields__ if field != "archived"},
        archived=seen,
    )
    parameters = dict(read_below(as_client(house.ssm), f"{PREFIX}/{GROUP}"))
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


def dying(house: House, writes: int) -> ParameterTarget:
    left = [writes]
    bucket = EvidenceBucket(as_client(Mortal(house.s3, left)), "evidence")
    ssm = as_client(Mortal(house.ssm, left))
    return ParameterTarget(ssm, house.signer, PREFIX, ledger=house.ledger, bucket=bucket, keep_versions=3)


def into_the_archive(house: House) -> None:
    house.register(7)


def back_from_it(house: House) -> None:
    house.roll_back("prod", to=1)


def into_what_is_there(house: House) -> None:
    house.revoke(1)


@pytest.mark.parametrize("happens", [into_the_archive, back_from_it, into_what_is_there])
def test_a_process_that_dies_at_any_write_loses_and_doubles_nothing(happens: Callable[[House], None]) -> None:
    """It dies before each write in turn; nothing is missing then, another event comes, and the next try ends it."""
    died = 0
    while True:
        # Of before the setting, so that there are pages to delete too.
        house = climbed(6, CONFIG)
        for number in range(12):
            for version in (1, 2):
                house.measure(version, "dev", run=f"run-{number}")
        house.project()
        assert f"{VERSIONS}/1/history/0001" in house.ssm.values
        house.config = KEPT
        if happens is not into_the_archive:
            house.project(targets={names.PARAMETERS: house.parameters})
            house.measure(6, "dev", run="moves-the-others")
            house.project()
        happens(house)
        before = {number: told(house, number) for number in range(1, 7)}
        failures = house.project(targets={names.PARAMETERS: dying(house, died)})
        for number, entries in before.items():
            found = history(house, number)
            assert found == entries[: len(found)]
            assert len(found) >= len(entries) - 1
        house.measure(6, "test", run="later")
        house.project()
        whole(house)
        assert present(house) >= {5, 6}
        if not failures:
            break
        died += 1
    assert died > 1


def without_pages() -> House:
    return climbed(1)


def with_pages_of_before_the_setting() -> House:
    house = climbed(1, CONFIG)
    for number in range(12):
        house.measure(1, "dev", run=f"before-{number}")
    house.project()
    assert f"{VERSIONS}/1/history/0001" in house.ssm.values
    house.config = KEPT
    return house


@pytest.mark.parametrize("begun", [without_pages, with_pages_of_before_the_setting])
def test_dying_while_entries_of_a_kept_version_are_archived_loses_nothing(begun: Callable[[], House]) -> None:
    for writes in range(40):
        house = begun()
        for number in range(30):
            house.measure(1, "dev", run=f"run-{number}")
        failures = house.project(targets={names.PARAMETERS: dying(house, writes)})
        house.measure(1, "test", run="later")
        house.project()
        whole(house)
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


def the_version_goes(house: House) -> None:
    house.climb(5)
    house.project()


def its_older_entries_go(house: House) -> None:
    for number in range(15):
        house.measure(1, "dev", run=f"run-{number}")
    house.project()


@pytest.mark.parametrize("happens", [the_version_goes, its_older_entries_go])
@pytest.mark.parametrize("reads", [1, 2, 3, 4])
def test_a_reader_misses_nothing_that_is_archived_meanwhile(reads: int, happens: Callable[[House], None]) -> None:
    house = climbed(3)
    house.climb(4)
    before = told(house, 1)
    client = as_client(Meanwhile(house.ssm, reads, lambda: happens(house)))
    found = read_history(client, PREFIX, GROUP, 1, bucket=house.evidence)
    assert found[: len(before)] == before


def test_a_version_that_is_nowhere_is_an_error() -> None:
    house = climbed(1)
    with pytest.raises(house.ssm.exceptions.ParameterNotFound):
        history(house, 2)
