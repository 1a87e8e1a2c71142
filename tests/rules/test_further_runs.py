"""Further runs of the same version: they add evidence, and undo nothing that a person said."""

from __future__ import annotations

import pytest

from benchmarks import control
from promotion import names
from promotion.domain.model import Metric
from promotion.errors import Refused
from promotion.workflows import decisions, runs
from tests.fakes import ANN, CHO, GROUP, FakeService, a_run
from tests.rules.scenario import ANN as ANN_OF_STAGE
from tests.rules.scenario import LINKS, Scenario, measured, page


@pytest.fixture
def fake() -> FakeService:
    """Version 1 is live in test, and a run there asked for prod, which wants two votes."""
    fake = FakeService()
    fake.promote(1, to="test")
    fake.measure(1, "test", run="t-1")
    return fake


def failed(fake: FakeService, run: str) -> None:
    evidence = a_run("test", run=run, status="Failed", problem="ResourceLimitExceeded", metrics={})
    runs.record_inference(GROUP, 1, evidence, context=fake.context)


def test_a_further_run_keeps_the_request_its_link_and_its_votes(fake: FakeService) -> None:
    asked = fake.asked(1, "prod")
    fake.decide(1, "prod", ANN)
    fake.measure(1, "test", 0.8, run="t-2")
    assert fake.asked(1, "prod") == asked
    request = fake.view().version(1).requests["prod"]
    assert (request.evidence.run_id, [vote.actor.subject for vote in request.votes]) == ("t-2", ["ann"])
    fake.decide(1, "prod", CHO)
    assert fake.live("prod") == 1


def test_a_further_run_below_the_gate_refuses_approvals_and_keeps_the_votes(fake: FakeService) -> None:
    fake.decide(1, "prod", ANN)
    fake.measure(1, "test", 0.3, run="t-2")
    assert not fake.view().environment("prod").pending_gates_open
    with pytest.raises(Refused, match=r"rougeL is 0\.3"):
        fake.decide(1, "prod", CHO)
    assert fake.view().environment("prod").pending_votes == 1


def test_votes_count_again_when_a_run_passes_the_gate_again(fake: FakeService) -> None:
    fake.decide(1, "prod", ANN)
    fake.measure(1, "test", 0.3, run="t-2")
    fake.measure(1, "test", 0.7, run="t-3")
    asked = fake.asked(1, "prod")
    decisions.record_decision(asked, CHO, names.APPROVED, "Seen.", context=fake.context, confirmed=True)
    assert fake.live("prod") == 1


def test_a_run_that_failed_closes_nothing_and_shuts_no_gate(fake: FakeService) -> None:
    fake.decide(1, "prod", ANN)
    failed(fake, "t-2")
    assert fake.view().version(1).requests["prod"].evidence.run_id == "t-1"
    fake.decide(1, "prod", CHO)
    assert fake.live("prod") == 1


def test_a_run_after_one_that_failed_opens_its_request() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    broken = a_run("dev", run="d-1", status="Failed", problem="no room", metrics={"rougeL": Metric()})
    runs.record_inference(GROUP, 1, broken, context=fake.context)
    fake.measure(1, "dev", run="d-2")
    fake.decide(1, "test")
    assert fake.live("test") == 1


def test_a_voter_sees_the_evidence_of_the_newest_run(fake: FakeService) -> None:
    first = fake.decide(1, "prod", ANN).events[0].evidence_digest
    fake.measure(1, "test", 0.8, run="t-2")
    assert fake.decide(1, "prod", CHO).events[0].evidence_digest != first
    assert fake.project() == []
    assert fake.lines() == []


def rejected(fake: FakeService) -> None:
    fake.decide(1, "prod", ANN, names.REJECTED)


def expired(fake: FakeService) -> None:
    fake.later(hours=73)
    decisions.keep_time(fake.view().environment("prod"), context=fake.context)


def past_its_time(fake: FakeService) -> None:
    fake.later(hours=73)


def rolled_back(fake: FakeService) -> None:
    fake.promote(2)
    fake.roll_back("prod")


def revoked(fake: FakeService) -> None:
    fake.revoke(1)


@pytest.mark.parametrize("close", [rejected, expired, past_its_time, revoked])
def test_a_closed_request_is_not_opened_by_a_run(fake: FakeService, close: object) -> None:
    assert callable(close)
    close(fake)
    fake.measure(1, "test", run="t-2")
    assert fake.kinds()[-1] == names.INFERENCE_COMPLETED
    assert fake.asked(1, "prod").endswith(":1")
    assert fake.view().version(1).evidence["test"].run_id == "t-2"


def test_a_run_does_not_request_a_rolled_back_version(fake: FakeService) -> None:
    for person in (ANN, CHO):
        fake.decide(1, "prod", person)
    fake.promote(2)
    fake.roll_back("prod")
    fake.measure(2, "test", run="again")
    assert fake.kinds()[-1] == names.INFERENCE_COMPLETED
    assert fake.status(2, "prod") == names.ROLLED_BACK


def test_a_run_does_not_request_a_superseded_version(fake: FakeService) -> None:
    fake.promote(2, to="test")
    fake.measure(2, "test")
    assert fake.status(1, "prod") == names.SUPERSEDED
    fake.roll_back("test")
    fake.measure(1, "test", run="t-9")
    assert fake.view().environment("prod").pending == 2
    assert fake.status(1, "prod") == names.SUPERSEDED


def test_24_hourly_runs_are_mailed_about_once() -> None:
    scenario = Scenario()
    scenario.promotes(1, 0.7)
    asked = len(scenario.mails(names.APPROVAL_REQUESTED))
    for hour in range(24):
        scenario.later(hours=1)
        scenario.runs("dev", 1, measured(0.7, run_id=f"hour-{hour}"))
    assert len(scenario.mails(names.APPROVAL_REQUESTED)) == asked
    assert scenario.mails(names.INFERENCE_COMPLETED) == []


def test_another_verdict_is_mailed_once_a_day() -> None:
    scenario = Scenario()
    scenario.promotes(1, 0.7)
    for hour in range(24):
        scenario.later(hours=1)
        scenario.runs("dev", 1, measured(0.7 if hour % 2 else 0.3, run_id=f"hour-{hour}"))
    told = [event.payload for event in scenario.events if event.kind == names.INFERENCE_COMPLETED]
    assert [getattr(payload, "told", None) for payload in told].count(True) == 1


def test_the_mail_about_another_verdict_leads_to_the_open_request() -> None:
    scenario = Scenario()
    scenario.promotes(1, 0.3)
    scenario.later(hours=1)
    scenario.runs("dev", 1, measured(0.7, run_id="better"))
    [message] = scenario.mails(names.INFERENCE_COMPLETED)
    assert "news-summariser v1: approve for test" in message.subject
    assert LINKS.approval(scenario.view.version(1).requests["test"].id) in message.text


def test_the_page_lists_all_runs_with_count_and_spread() -> None:
    scenario = Scenario()
    scenario.promotes(1, 0.7)
    assert scenario.request("test", 1)["runs"] is None
    for number, rouge in enumerate((0.3, 0.72, 0.5, 0.68)):
        scenario.later(hours=1)
        scenario.runs("dev", 1, measured(rouge, run_id=f"again-{number}"))
    document = scenario.request("test", 1)
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
    scenario = Scenario()
    scenario.promotes(1, 0.3)
    scenario.runs("dev", 1, measured(0.7, run_id="better"))
    scenario.decides("test", 1, names.REJECTED)
    scenario.asks_again("test", 1, ANN_OF_STAGE, "Look at it once more.")
    assert (scenario.view.version(1).requests["test"].runs, scenario.view.version(1).requests["test"].runs_passed) == (
        2,
        1,
    )


def test_nobody_is_mailed_about_a_request_that_was_superseded_by_then() -> None:
    scenario = Scenario()
    for version in (1, 2, 3):
        scenario.registers(version)
    assert [message.subject for message in scenario.mails(names.APPROVAL_REQUESTED)] == [
        "[dev] news-summariser v3: approve for dev"
    ]


def test_a_run_that_failed_before_it_began_is_recorded_once_and_for_what_is_live(fake: FakeService) -> None:
    def fails(name: str, run: str) -> str:
        return runs.record_failure(GROUP, name, run, "There is no input.", broken=False, context=fake.context).note

    before = len(fake.events())
    assert fails("prod", "run-9") == "nothing is live in prod"
    assert len(fake.events()) == before
    assert fails("dev", "run-9") == ""
    after = len(fake.events())
    assert fails("dev", "run-9") == "run run-9 is already recorded"
    assert len(fake.events()) == after > before
