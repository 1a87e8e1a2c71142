"""Two processes change the archive of a group at once, the projector and a repair: neither loses what the other one wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from promotion import names
from promotion.aws.parameter_store.archive import Archive
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.errors import Conflict
from promotion.ledger.archive import ArchiveIndex
from tests.fakes import CONFIG, GROUP, PREFIX, FakeService, as_client
from tests.rules.test_archive import ARCHIVE, KEPT, VERSIONS, climbed, dying, present, whole

CALLS = ("get_parameter", "put_parameter", "delete_parameter", "get_object", "put_object")


class Between:
    """A client; before the call with the number `at`, counted over all clients of one `calls`, something happens."""

    def __init__(self, client: Any, calls: list[str], at: int, happens: Callable[[], None]) -> None:
        self._client, self._calls, self._at, self._happens = client, calls, at, happens

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in CALLS:
            return found

        def call(**given: Any) -> Any:
            self._calls.append(name)
            if len(self._calls) == self._at:
                self._happens()
            return found(**given)

        return call


def interrupted(fake: FakeService, at: int, happens: Callable[[], None]) -> tuple[ParameterTarget, list[str]]:
    """The target of Parameter Store, and its calls; before the one with the number `at` something happens."""
    calls: list[str] = []
    ssm = as_client(Between(fake.ssm, calls, at, happens))
    bucket = EvidenceBucket(as_client(Between(fake.s3, calls, at, happens)), "evidence")
    target = ParameterTarget(ssm, fake.signer, PREFIX, ledger=fake.ledger, bucket=bucket, keep_versions=3)
    return target, calls


def damaged() -> FakeService:
    """Versions of before the setting; the history of version 1 is cut, so only a repair archives it."""
    fake = climbed(6, CONFIG)
    document = json.loads(fake.ssm.values[f"{VERSIONS}/1"])
    fake.ssm.values[f"{VERSIONS}/1"] = json.dumps({**document, "history": document["history"][:-1]})
    fake.config = KEPT
    fake.measure(6, "dev", run="next")
    return fake


def repair(fake: FakeService) -> None:
    """Repair version 1, as `promotion verify --repair` does; the rest is on its way."""
    for found in fake.verify():
        if found.difference.where.startswith(f"{VERSIONS}/1"):
            assert found.repair is not None
            found.repair()


def projects(fake: FakeService) -> None:
    """The projector comes, and nothing stops it."""
    assert fake.project() == []


def archived(fake: FakeService) -> set[str]:
    """Versions in the index that Parameter Store names."""
    named = json.loads(fake.ssm.values[ARCHIVE])
    return set(json.loads(fake.s3.objects[named["object"]])["versions"])


def test_a_repair_between_any_two_calls_of_the_projector_loses_no_version() -> None:
    at, conflicts = 1, 0
    while True:
        fake = damaged()
        target, calls = interrupted(fake, at, partial(repair, fake))
        failures = fake.project(targets={names.PARAMETERS: target})
        conflicts += len(failures)
        assert all("somebody else" in failure.error for failure in failures)
        if len(calls) < at:
            break
        assert fake.project() == []
        assert archived(fake) == {"1", "2", "3"}
        assert present(fake) == {4, 5, 6}
        whole(fake)
        at += 1
    assert conflicts > 1, "no repair came between reading an index and writing the next"


def test_the_projector_between_any_two_calls_of_a_repair_loses_no_version() -> None:
    at, conflicts = 1, 0
    while True:
        fake = damaged()
        target, calls = interrupted(fake, at, partial(projects, fake))
        view = fake.view()
        events = [event for event in fake.events() if event.version == 1]
        try:
            target.rewrite_version(view, view.version(1), events)
        except Conflict:
            conflicts += 1
            target.rewrite_version(view, view.version(1), events)
        if len(calls) < at:
            break
        assert fake.project() == []
        assert archived(fake) == {"1", "2", "3"}
        whole(fake)
        at += 1
    assert conflicts > 1, "no projection came between reading an index and writing the next"


def test_an_index_that_was_written_and_not_named_is_gone_on_with() -> None:
    """A projector dies before it names its index; then a repair of another version comes."""
    for writes in range(20):
        fake = damaged()
        fake.project(targets={names.PARAMETERS: dying(fake, writes)})
        if any(".index/" in key for key in fake.s3.objects) and ARCHIVE not in fake.ssm.values:
            break
    else:
        raise AssertionError("it never dies between index and name")
    repair(fake)
    assert archived(fake) == {"1", "2", "3"}
    assert fake.project() == []
    whole(fake)


def test_the_name_of_an_index_never_goes_back_to_an_older_one() -> None:
    """A process names its index late, when another one has written and named the next."""
    fake = climbed(8)
    archive = Archive(as_client(fake.ssm), fake.evidence, PREFIX)
    of_all = archive.index(GROUP).index.versions

    def another() -> None:
        archive.change(archive.index(GROUP), ArchiveIndex(model_package_group=GROUP, versions=of_all))

    few = {number: of_all[number] for number in ("1", "2")}
    # Its calls: the object is written and read back, then named.
    late = Archive(as_client(Between(fake.ssm, [], 1, another)), fake.evidence, PREFIX)
    kept = archive.index(GROUP)
    late.change(kept, ArchiveIndex(model_package_group=GROUP, versions=few))
    assert archived(fake) == set(of_all)
    assert archive.index(GROUP).named
    whole(fake)


def test_an_object_in_the_place_of_the_next_index_is_passed_over() -> None:
    fake = climbed(8)
    number = int(json.loads(fake.ssm.values[ARCHIVE])["object"][-15:-5]) + 1
    fake.s3.objects[f"{names.ARCHIVES}/{GROUP}.index/{number:010d}.json"] = b"[" * 5000
    fake.promote(9)
    assert fake.project() == []
    assert archived(fake) == {"1", "2", "3", "4", "5", "6"}
    whole(fake)
