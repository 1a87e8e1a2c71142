"""A tick of the schedule announces a run of each live model, and of nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from lambdas.handlers import schedule_runs
from promotion import names
from promotion.config.loading import Config
from tests.fakes import CONFIG, GROUP, FakeService


class Bus:
    """Refuses the entries at the given places, each as often as it says."""

    def __init__(self, refused: dict[int, int] | None = None) -> None:
        self.taken: list[dict[str, Any]] = []
        self.calls = 0
        self._refused = refused or {}

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        assert 0 < len(Entries) <= 10, "PutEvents takes 10"
        self.calls += 1
        answers: list[dict[str, str]] = []
        for place, entry in enumerate(Entries):
            if self._refused.get(place, 0) > 0:
                self._refused[place] -= 1
                answers.append({"ErrorCode": "ThrottlingException"})
            else:
                self.taken.append(entry)
                answers.append({"EventId": "x"})
        return {"FailedEntryCount": sum("ErrorCode" in each for each in answers), "Entries": answers}


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1, to="test")
    fake.promote(1, to="dev", group="fraud")
    fake.register(1, group="asked-only")
    return fake


def tick(
    monkeypatch: pytest.MonkeyPatch, fake: FakeService, bus: Bus, config: Config = CONFIG
) -> list[tuple[str, str]]:
    monkeypatch.setattr(schedule_runs, "ledger", lambda: fake.ledger)
    monkeypatch.setattr(schedule_runs, "config", lambda: config)
    monkeypatch.setattr(schedule_runs, "client", lambda service: {"events": bus}[service])
    monkeypatch.setenv(names.EVENT_BUS_NAME, "promotion")
    schedule_runs.handler({}, None)
    assert {(each["Source"], each["DetailType"], each["EventBusName"]) for each in bus.taken} == {
        (names.SCHEDULE_SOURCE, names.RUN_SCHEDULED, "promotion")
    }
    details = [json.loads(each["Detail"]) for each in bus.taken]
    return [(each["model_package_group"], each["environment"]) for each in details]


def test_live_versions_run_and_others_do_not(monkeypatch: pytest.MonkeyPatch, fake: FakeService) -> None:
    assert sorted(tick(monkeypatch, fake, Bus())) == [("fraud", "dev"), (GROUP, "dev"), (GROUP, "test")]


def test_a_group_that_is_governed_no_more_does_not_run(monkeypatch: pytest.MonkeyPatch, fake: FakeService) -> None:
    assert tick(monkeypatch, fake, Bus(), replace(CONFIG, groups=("fraud",))) == [("fraud", "dev")]


def test_ten_at_once_are_announced_and_none_is_forgotten(monkeypatch: pytest.MonkeyPatch, fake: FakeService) -> None:
    for number in range(23):
        fake.promote(1, to="dev", group=f"group-{number:02d}")
    bus = Bus()
    assert len(set(tick(monkeypatch, fake, bus))) == 26
    assert bus.calls == 3


def test_only_entries_that_the_bus_refused_are_put_again(monkeypatch: pytest.MonkeyPatch, fake: FakeService) -> None:
    bus = Bus({1: 1})
    assert sorted(tick(monkeypatch, fake, bus)) == [("fraud", "dev"), (GROUP, "dev"), (GROUP, "test")]
    assert bus.calls == 2


def test_entries_that_are_refused_again_are_an_error_after_all_others_are_put(
    monkeypatch: pytest.MonkeyPatch, fake: FakeService
) -> None:
    bus = Bus({0: 99})
    with pytest.raises(RuntimeError, match="refused 1 of 3 runs"):
        tick(monkeypatch, fake, bus)
    assert len(bus.taken) == 2


def test_a_batch_that_does_not_arrive_holds_no_other_up(monkeypatch: pytest.MonkeyPatch, fake: FakeService) -> None:
    class Stumbling(Bus):
        def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
            answer = super().put_events(Entries=Entries)
            if self.calls == 1:
                self.taken.clear()
                raise ClientError({"Error": {"Code": "ThrottlingException"}}, "PutEvents")
            return answer

    for number in range(23):
        fake.promote(1, to="dev", group=f"group-{number:02d}")
    bus = Stumbling()
    with pytest.raises(RuntimeError, match="refused 10 of 26 runs"):
        tick(monkeypatch, fake, bus)
    assert len(bus.taken) == 16
