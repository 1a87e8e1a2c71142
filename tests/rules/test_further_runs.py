"""Further runs of the same version: they add evidence, and undo nothing that a person said."""

from __future__ import annotations

import pytest

from benchmarks import control
from promotion import names
from promotion.domain.model import Metric
from promotion.errors import Refused
from promotion.workflows import decisions, runs
from tests.fakes import ANN, CHO, GROUP, House, a_run
from tests.rules.stage import ANN as ANN_OF_STAGE
from tests.rules.stage import LINKS, Stage, measured, page


@pytest.fixture
def house() -> House:
    """Version 1 is live in test, and a run there asked for prod, which wants two votes."""
    house = House()
    house.climb(1, to="test")
    house.measure(1, "test", run="t-1")
    return house


def failed(house: House, run: str) -> None:
    evidence = a_run("test", run=run, status="Failed", problem="ResourceLimitExceeded", metrics={})
    runs.record_inference(GROUP, 1, evidence, world=house.world)


def test_a_further_run_keeps_the_request_its_link_and_its_votes(house: House) -> None:
    asked = house.asked(1, "prod")
    house.decide(1, "prod", ANN)
    house.measure(1, "test", 0.8, run="t-2")
    assert house.asked(1, "prod") == asked
    request = house.view().version(1).requests["prod"]
    assert (request.evidence.run_id, [vote.actor.subject for vote in request.votes]) == ("t-2", ["ann"])
    house.decide(1, "prod", CHO)
    assert house.live("prod") == 1


def test_a_further_run_below_the_gate_refuses_approvals_and_keeps_the_votes(house: House) -> None:
    house.decide(1, "prod", ANN)
    house.measure(1, "test", 0.3, run="t-2")
    assert not house.view().environment("prod").pending_gates_open
    with pytest.raises(Refused, match=r"rougeL is 0\.3"):
        house.decide(1, "prod", CHO)
    assert house.view().environment("prod").pending_votes == 1


def test_votes_count_again_when_a_run_passes_the_gate_again(house: House) -> None:
    house.decide(1, "prod", ANN)
    house.measure(1, "test", 0.3, run="t-2")
    house.measure(1, "test", 0.7, run="t-3")
    asked = house.asked(1, "prod")
    decisions.record_decision(asked, CHO, names.APPROVED, "Seen.", world=house.world, confirmed=True)
    assert house.live("prod") == 1


def test_a_run_that_failed_closes_nothing_and_shuts_no_gate(house: House) -> None:
    house.decide(1, "prod", ANN)
    failed(house, "t-2")
    assert house.view().version(1).requests["prod"].evidence.run_id == "t-1"
    house.decide(1, "prod", CHO)
    assert house.live("prod") == 1


def test_a_run_after_one_that_failed_opens_its_request() -> None:
    house = House()
    house.climb(1, to="dev")
    broken = a_run("dev", run="d-1", status="Failed", problem="no room", metrics={"rougeL": Metric()})
    runs.record_inference(GROUP, 1, broken, world=house.world)
    house.measure(1, "dev", run="d-2")
    house.decide(1, "test")
    assert house.live("test") == 1


def test_a_voter_sees_the_evidence_of_the_newest_run(house: House) -> None:
    first = house.decide(1, "prod", ANN).events[0].evidence_digest
    house.measure(1, "test", 0.8, run="t-2")
    assert house.decide(1, "prod", CHO).events[0].evidence_digest != first
    assert house.project() == []
    assert house.lines() == []


def rejected(house: House) -> None:
    house.decide(1, "prod", ANN, names.REJECTED)


def expired(house: House) -> None:
    house.later(hours=73)
    decisions.keep_time(house.view().environment("prod"), world=house.world)


def past_its_time(house: House) -> None:
    house.later(hours=73)


def rolled_back(house: House) -> None:
    house.climb(2)
    house.roll_back("prod")


def revoked(house: House) -> None:
    house.revoke(1)


@pytest.mark.parametrize("close", [rejected, expired, past_its_time, revoked])
def test_a_closed_request_is_not_opened_by_a_run(house: House, close: object) -> None:
    assert callable(close)
    close(house)
    house.measure(1, "test", run="t-2")
    assert house.kinds()[-1] == names.INFERENCE_COMPLETED
    assert house.asked(1, "prod").endswith(":1")
    assert house.view().version(1).evidence["test"].run_id == "t-2"


def test_a_run_does_not_request_a_rolled_back_version(house: House) -> None:
    for person in (ANN, CHO):
        house.decide(1, "prod", person)
    house.climb(2)
    house.roll_back("prod")
    house.measure(2, "test", run="again")
    assert house.kinds()[-1] == names.INFERENCE_COMPLETED
    assert house.status(2, "prod") == names.ROLLED_BACK


def test_a_run_does_not_request_a_superseded_version(house: House) -> None:
    house.climb(2, to="test")
    house.measure(2, "test")
    assert house.status(1, "prod") == names.SUPERSEDED
    house.roll_back("test")
    house.measure(1, "test", run="t-9")
    assert house.view().environment("prod").pending == 2
    assert house.status(1, "prod") == names.SUPERSEDED


def test_24_hourly_runs_are_mailed_about_once() -> None:
    stage = Stage()
    stage.climbs(1, 0.7)
    asked = len(stage.mails(names.APPROVAL_REQUESTED))
    for hour in range(24):
        stage.later(hours=1)
        stage.runs("dev", 1, measured(0.7, run_id=f"hour-{hour}"))
    assert len(stage.mails(names.APPROVAL_REQUESTED)) == asked
    assert stage.mails(names.INFERENCE_COMPLETED) == []


def test_another_verdict_is_mailed_once_a_day() -> None:
    stage = Stage()
    stage.climbs(1, 0.7)
    for hour in range(24):
        stage.later(hours=1)
        stage.runs("dev", 1, measured(0.7 if hour % 2 else 0.3, run_id=f"hour-{hour}"))
    told = [event.payload for event in stage.events if event.kind == names.INFERENCE_COMPLETED]
    assert [getattr(payload, "told", None) for payload in told].count(True) == 1


def test_the_mail_about_another_verdict_leads_to_the_open_request() -> None:
    stage = Stage()
    stage.climbs(1, 0.3)
    stage.later(hours=1)
    stage.runs("dev", 1, measured(0.7, run_id="better"))
    [message] = stage.mails(names.INFERENCE_COMPLETED)
    assert "news-summariser v1: approve for test" in message.subject
    assert LINKS.approval(stage.view.version(1).requests["test"].id) in message.text


def test_the_page_lists_all_runs_with_count_and_spread() -> None:
    stage = Stage()
    stage.climbs(1, 0.7)
    assert stage.request("test", 1)["runs"] is None
    for number, rouge in enumerate((0.3, 0.72, 0.5, 0.68)):
        stage.later(hours=1)
        stage.runs("dev", 1, measured(rouge, run_id=f"again-{number}"))
    document = stage.request("test", 1)
    assert (document["runs"]["count"], document["runs"]["passed"]) == (5, 3)
    assert document["runs"]["spread"]["rougeL"] == {"low": 0.3, "high": 0.72}
    assert [run["passed"] for run in document["runs"]["newest"]] == [True, False, True, False, True]
    assert "All runs: 3 of 5 passed" in page("request", document)


def test_storms_and_hourly_runs_are_within_their_bounds() -> None:
    assert control.storm_30() == {"asked": 1, "superseded": 29, "mails_per_approver": 2}
    figures = control.reruns_24()
    assert figures["votes_lost"] == 0
    assert figures["mails_per_approver"] <= 1


def test_asking_again_forgets_no_run() -> None:
    stage = Stage()
    stage.climbs(1, 0.3)
    stage.runs("dev", 1, measured(0.7, run_id="better"))
    stage.decides("test", 1, names.REJECTED)
    stage.asks_again("test", 1, ANN_OF_STAGE, "Look at it once more.")
    assert (stage.view.version(1).requests["test"].runs, stage.view.version(1).requests["test"].runs_passed) == (2, 1)


def test_nobody_is_mailed_about_a_request_that_was_superseded_by_then() -> None:
    stage = Stage()
    for version in (1, 2, 3):
        stage.registers(version)
    assert [message.subject for message in stage.mails(names.APPROVAL_REQUESTED)] == [
        "[dev] news-summariser v3: approve for dev"
    ]
