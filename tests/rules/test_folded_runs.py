"""Repeated runs: beyond the newest 20 of a version in an environment they are one entry of Parameter Store."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest

from promotion import names
from promotion.errors import IntegrityError
from promotion.ledger.folded_runs import FIELD, KEPT_RUNS, FoldedRuns
from promotion.ledger.parameter_documents import PAGE_BYTES, dump, entry
from tests.fakes import GROUP, PREFIX, FakeService, as_client
from tests.rules.histories import folded_events, read_history

VERSION = f"{PREFIX}/{GROUP}/versions/1"


def run_daily(fake: FakeService, days: int, *environments: str) -> None:
    for day in range(days):
        for name in environments:
            fake.later(hours=1)
            fake.measure(1, name, run=f"{name}-day-{day}")
        fake.project()


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    return fake


def told(fake: FakeService) -> list[dict[str, Any]]:
    return read_history(as_client(fake.ssm), PREFIX, GROUP, 1)


def folded(fake: FakeService) -> dict[str, FoldedRuns]:
    return {each["environment"]: msgspec.convert(each[FIELD], FoldedRuns) for each in told(fake) if FIELD in each}


def runs_of(fake: FakeService, name: str) -> list[Any]:
    return [e for e in fake.events() if e.kind == names.INFERENCE_COMPLETED and e.environment == name]


def test_months_of_daily_runs_in_every_environment_takes_few_parameters(fake: FakeService) -> None:
    run_daily(fake, 40, "dev", "test", "prod")
    after_40 = len(fake.ssm.values)
    run_daily(fake, 80, "dev", "test", "prod")
    assert len(fake.ssm.values) <= after_40 + 1
    assert len(fake.ssm.values) < 15
    assert all(len(value.encode()) <= PAGE_BYTES for value in fake.ssm.values.values())


def test_the_newest_runs_stay_and_the_others_are_one_entry_with_their_digest(fake: FakeService) -> None:
    run_daily(fake, 60, "dev")
    runs, [one] = runs_of(fake, "dev"), folded(fake).values()
    kept = [each for each in told(fake) if each["kind"] == names.INFERENCE_COMPLETED and FIELD not in each]
    assert len(kept) >= KEPT_RUNS
    assert len(kept) < KEPT_RUNS + 20
    gone = runs[: one.count]
    assert (one.first, one.last) == (gone[0].sequence, gone[-1].sequence)
    digest = ""
    for event in gone:
        digest = hashlib.sha256((digest + event.hash).encode()).hexdigest()
    assert one.digest == digest


def test_all_that_is_no_run_stays_an_entry_of_its_own(fake: FakeService) -> None:
    run_daily(fake, 60, "dev", "prod")
    stays = [each for each in told(fake) if each["kind"] != names.INFERENCE_COMPLETED]
    assert stays == [entry(e) for e in fake.events() if e.version == 1 and e.kind != names.INFERENCE_COMPLETED]
    sequences = [each["sequence"] for each in told(fake)]
    assert sequences == sorted(sequences)


def test_the_entries_and_the_objects_that_they_name_are_every_event(fake: FakeService) -> None:
    run_daily(fake, 60, "dev", "test")
    whole = {each["sequence"] for each in told(fake) if FIELD not in each}
    for name, one in folded(fake).items():
        kept = folded_events(fake.evidence, one)
        assert [event.stored() for event in kept] == [event.stored() for event in runs_of(fake, name)[: one.count]]
        whole |= {event.sequence for event in kept}
    assert whole == {event.sequence for event in fake.events() if event.version == 1}


def test_the_work_of_a_day_is_no_more_after_months(fake: FakeService) -> None:
    run_daily(fake, 40, "dev", "test", "prod")
    before = fake.ssm.writes
    run_daily(fake, 20, "dev", "test", "prod")
    early, before = fake.ssm.writes - before, fake.ssm.writes
    run_daily(fake, 80, "dev", "test", "prod")
    before = fake.ssm.writes
    run_daily(fake, 20, "dev", "test", "prod")
    assert fake.ssm.writes - before <= early * 1.1
    assert max(map(len, fake.s3.objects.values())) < 60_000


def test_a_folded_history_is_verified_and_written_anew(fake: FakeService) -> None:
    run_daily(fake, 40, "dev", "test")
    assert fake.lines() == []
    fake.ssm.values[VERSION] = "{}"
    [found] = fake.verify()
    assert found.repair is not None
    found.repair()
    assert fake.lines() == []
    assert folded(fake).keys() == {"dev", "test"}
    run_daily(fake, 40, "dev", "test")
    assert fake.lines() == []


def test_a_history_is_rebuilt_from_the_ledger_as_it_was(fake: FakeService) -> None:
    run_daily(fake, 40, "dev", "test")
    fake.ssm.values.clear()
    fake.s3.objects.clear()
    fake.cursors.reset(GROUP, names.PARAMETERS)
    fake.project()
    assert fake.lines() == []
    assert len(folded_events(fake.evidence, folded(fake)["dev"])) == folded(fake)["dev"].count


@pytest.mark.parametrize(
    ("field", "value"), [("count", 7), ("first", 1), ("digest", "0" * 64), ("object", "folded-runs/elsewhere.json")]
)
def test_a_folded_entry_that_was_edited_is_told(fake: FakeService, field: str, value: object) -> None:
    run_daily(fake, 40, "dev")
    [name] = [name for name, text in fake.ssm.values.items() if '"runs"' in text]
    document = json.loads(fake.ssm.values[name])
    entries = document["history"] if isinstance(document, dict) else document
    [one] = [each for each in entries if FIELD in each]
    one[FIELD][field] = value
    fake.ssm.values[name] = dump(document)
    [line] = fake.lines()
    assert line == f"parameter {VERSION} history: expected event {one['sequence']}, found one with another runs"
    for found in fake.verify():
        assert found.repair is not None
        found.repair()
    assert fake.lines() == []


def test_an_object_that_is_gone_or_edited_is_told_and_written_anew(fake: FakeService) -> None:
    run_daily(fake, 40, "dev")
    [one] = folded(fake).values()
    kept = fake.s3.objects[one.object]
    for damage, said in (
        (None, "nothing"),
        (kept.replace(b"dev-day-1", b"dev-day-2"), "something else"),
        (b"[", "nothing"),
    ):
        fake.s3.objects[one.object] = kept
        if damage is None:
            del fake.s3.objects[one.object]
        else:
            fake.s3.objects[one.object] = damage
        [found] = fake.verify()
        wanted = f"the events of {one.count} runs, up to event {one.last}"
        assert found.difference.line == f"evidence {one.object}: expected {wanted}, found {said}"
        assert found.repair is not None
        found.repair()
        assert fake.lines() == []
    fake.s3.objects.clear()
    with pytest.raises(IntegrityError, match="is not what the history names"):
        folded_events(fake.evidence, one)


class Dies(Exception):
    pass


@pytest.mark.parametrize("call", range(1, 40))
def test_dying_at_any_write_of_a_fold_loses_nothing_and_leaves_no_page(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    run_daily(fake, 30, "dev", "test", "prod")
    for name in ("dev", "test", "prod"):
        for number in range(8):
            fake.measure(1, name, run=f"{name}-more-{number}")
    left = [call]

    def counted(act: Any) -> Any:
        def once(**given: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Dies
            return act(**given)

        return once

    with monkeypatch.context() as patched:
        for operation in ("put_parameter", "delete_parameter"):
            patched.setattr(fake.ssm, operation, counted(getattr(fake.ssm, operation)))
        patched.setattr(fake.s3, "put_object", counted(fake.s3.put_object))
        fake.project()
    fake.measure(1, "dev", run="after")
    assert fake.project() == []
    assert fake.lines() == []
    listed = json.loads(fake.ssm.values[VERSION])
    pages = [name for name in fake.ssm.values if f"{VERSION}/history/" in name]
    assert len(pages) == listed["pages"]
    assert "clearing" not in listed
