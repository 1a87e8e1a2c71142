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
from tests.fakes import GROUP, PREFIX, House, as_client
from tests.rules.histories import folded_events, read_history

VERSION = f"{PREFIX}/{GROUP}/versions/1"


def run_daily(house: House, days: int, *environments: str) -> None:
    for day in range(days):
        for name in environments:
            house.later(hours=1)
            house.measure(1, name, run=f"{name}-day-{day}")
        house.project()


@pytest.fixture
def house() -> House:
    house = House()
    house.climb(1)
    house.project()
    return house


def told(house: House) -> list[dict[str, Any]]:
    return read_history(as_client(house.ssm), PREFIX, GROUP, 1)


def folded(house: House) -> dict[str, FoldedRuns]:
    return {each["environment"]: msgspec.convert(each[FIELD], FoldedRuns) for each in told(house) if FIELD in each}


def runs_of(house: House, name: str) -> list[Any]:
    return [e for e in house.events() if e.kind == names.INFERENCE_COMPLETED and e.environment == name]


def test_months_of_daily_runs_in_every_environment_takes_few_parameters(house: House) -> None:
    run_daily(house, 40, "dev", "test", "prod")
    after_40 = len(house.ssm.values)
    run_daily(house, 80, "dev", "test", "prod")
    assert len(house.ssm.values) <= after_40 + 1
    assert len(house.ssm.values) < 15
    assert all(len(value.encode()) <= PAGE_BYTES for value in house.ssm.values.values())


def test_the_newest_runs_stay_and_the_others_are_one_entry_with_their_digest(house: House) -> None:
    run_daily(house, 60, "dev")
    runs, [one] = runs_of(house, "dev"), folded(house).values()
    kept = [each for each in told(house) if each["kind"] == names.INFERENCE_COMPLETED and FIELD not in each]
    assert len(kept) >= KEPT_RUNS
    assert len(kept) < KEPT_RUNS + 20
    gone = runs[: one.count]
    assert (one.first, one.last) == (gone[0].sequence, gone[-1].sequence)
    digest = ""
    for event in gone:
        digest = hashlib.sha256((digest + event.hash).encode()).hexdigest()
    assert one.digest == digest


def test_all_that_is_no_run_stays_an_entry_of_its_own(house: House) -> None:
    run_daily(house, 60, "dev", "prod")
    stays = [each for each in told(house) if each["kind"] != names.INFERENCE_COMPLETED]
    assert stays == [entry(e) for e in house.events() if e.version == 1 and e.kind != names.INFERENCE_COMPLETED]
    sequences = [each["sequence"] for each in told(house)]
    assert sequences == sorted(sequences)


def test_the_entries_and_the_objects_that_they_name_are_every_event(house: House) -> None:
    run_daily(house, 60, "dev", "test")
    whole = {each["sequence"] for each in told(house) if FIELD not in each}
    for name, one in folded(house).items():
        kept = folded_events(house.evidence, one)
        assert [event.stored() for event in kept] == [event.stored() for event in runs_of(house, name)[: one.count]]
        whole |= {event.sequence for event in kept}
    assert whole == {event.sequence for event in house.events() if event.version == 1}


def test_the_work_of_a_day_is_no_more_after_months(house: House) -> None:
    run_daily(house, 40, "dev", "test", "prod")
    before = house.ssm.writes
    run_daily(house, 20, "dev", "test", "prod")
    early, before = house.ssm.writes - before, house.ssm.writes
    run_daily(house, 80, "dev", "test", "prod")
    before = house.ssm.writes
    run_daily(house, 20, "dev", "test", "prod")
    assert house.ssm.writes - before <= early * 1.1
    assert max(map(len, house.s3.objects.values())) < 60_000


def test_a_folded_history_is_verified_and_written_anew(house: House) -> None:
    run_daily(house, 40, "dev", "test")
    assert house.lines() == []
    house.ssm.values[VERSION] = "{}"
    [found] = house.verify()
    assert found.repair is not None
    found.repair()
    assert house.lines() == []
    assert folded(house).keys() == {"dev", "test"}
    run_daily(house, 40, "dev", "test")
    assert house.lines() == []


def test_a_history_is_rebuilt_from_the_ledger_as_it_was(house: House) -> None:
    run_daily(house, 40, "dev", "test")
    house.ssm.values.clear()
    house.s3.objects.clear()
    house.cursors.reset(GROUP, names.PARAMETERS)
    house.project()
    assert house.lines() == []
    assert len(folded_events(house.evidence, folded(house)["dev"])) == folded(house)["dev"].count


@pytest.mark.parametrize(
    ("field", "value"), [("count", 7), ("first", 1), ("digest", "0" * 64), ("object", "folded-runs/elsewhere.json")]
)
def test_a_folded_entry_that_was_edited_is_told(house: House, field: str, value: object) -> None:
    run_daily(house, 40, "dev")
    [name] = [name for name, text in house.ssm.values.items() if '"runs"' in text]
    document = json.loads(house.ssm.values[name])
    entries = document["history"] if isinstance(document, dict) else document
    [one] = [each for each in entries if FIELD in each]
    one[FIELD][field] = value
    house.ssm.values[name] = dump(document)
    [line] = house.lines()
    assert line == f"parameter {VERSION} history: expected event {one['sequence']}, found one with another runs"
    for found in house.verify():
        assert found.repair is not None
        found.repair()
    assert house.lines() == []


def test_an_object_that_is_gone_or_edited_is_told_and_written_anew(house: House) -> None:
    run_daily(house, 40, "dev")
    [one] = folded(house).values()
    kept = house.s3.objects[one.object]
    for damage, said in (
        (None, "nothing"),
        (kept.replace(b"dev-day-1", b"dev-day-2"), "something else"),
        (b"[", "nothing"),
    ):
        house.s3.objects[one.object] = kept
        if damage is None:
            del house.s3.objects[one.object]
        else:
            house.s3.objects[one.object] = damage
        [found] = house.verify()
        wanted = f"the events of {one.count} runs, up to event {one.last}"
        assert found.difference.line == f"evidence {one.object}: expected {wanted}, found {said}"
        assert found.repair is not None
        found.repair()
        assert house.lines() == []
    house.s3.objects.clear()
    with pytest.raises(IntegrityError, match="is not what the history names"):
        folded_events(house.evidence, one)


class Dies(Exception):
    pass


@pytest.mark.parametrize("call", range(1, 40))
def test_dying_at_any_write_of_a_fold_loses_nothing_and_leaves_no_page(
    house: House, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    run_daily(house, 30, "dev", "test", "prod")
    for name in ("dev", "test", "prod"):
        for number in range(8):
            house.measure(1, name, run=f"{name}-more-{number}")
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
            patched.setattr(house.ssm, operation, counted(getattr(house.ssm, operation)))
        patched.setattr(house.s3, "put_object", counted(house.s3.put_object))
        house.project()
    house.measure(1, "dev", run="after")
    assert house.project() == []
    assert house.lines() == []
    listed = json.loads(house.ssm.values[VERSION])
    pages = [name for name in house.ssm.values if f"{VERSION}/history/" in name]
    assert len(pages) == listed["pages"]
    assert "clearing" not in listed
