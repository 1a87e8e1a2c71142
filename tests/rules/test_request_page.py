"""The page of a request: what the registry has, each failure once, numbers for people, and the way on after deciding."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from promotion.domain.model import EnvironmentState
from promotion.domain.people import Actor, Requester
from promotion.domain.registration import described
from promotion.formatting import ago, duration, listed_names, moment, number, principal, quantity
from promotion.rendering import pages
from promotion.rendering.documents.board import next_waiting
from promotion.rendering.documents.run_log import run_log
from tests.rules import scenarios
from tests.rules.markup import Document
from tests.rules.scenario import ANN, AUD, BEGINNING, CHO, GIL, LINKS, Scenario, measured, package, page

DESCRIPTION = {
    "Domain": "MACHINE_LEARNING",
    "Task": "CLASSIFICATION",
    "InferenceSpecification": {
        "Containers": [{"Framework": "XGBOOST", "FrameworkVersion": "1.7"}],
        "SupportedContentTypes": ["text/csv"],
    },
    "ModelMetrics": {"Bias": {"Report": {"S3Uri": "s3://b/bias.json"}}, "Explainability": {"Report": {"S3Uri": "s3://b/why.json"}}},
    "CreatedBy": {"IamIdentity": {"Arn": "arn:aws:sts::123456789012:assumed-role/MLEngineer/dee"}},
}  # fmt: skip


def words(scenario: Scenario, environment: str, version: int, **more: Any) -> str:
    return Document(page("request", scenario.request(environment, version, **more))).words


def test_the_registrys_description_is_on_the_page() -> None:
    scenario = Scenario()
    scenario.registers(1, described=described(DESCRIPTION))
    said = words(scenario, "dev", 1)
    for part in (
        "MACHINE_LEARNING",
        "CLASSIFICATION",
        "XGBOOST 1.7",
        "text/csv",
        "s3://b/bias.json",
        "s3://b/why.json",
    ):
        assert part in said


def test_an_unknown_requester_is_shown_by_who_created_the_package() -> None:
    scenario = Scenario()
    scenario.registers(1, requester=None, described=described(DESCRIPTION))
    assert "Registered by: unknown; created by dee (role MLEngineer)" in words(scenario, "dev", 1)


def test_only_what_a_gate_or_the_kind_of_model_asks_for_is_not_given() -> None:
    scenario = Scenario()
    scenario.registers(1, metadata={}, description="")
    assert "Not given" not in words(scenario, "dev", 1)
    scenario.registers(2, metadata={"base_model": "google/flan-t5-small"}, description="")
    assert "Not given: base model’s revision and licence." in words(scenario, "dev", 2)


def test_a_run_that_failed_is_told_once_with_its_log() -> None:
    html = page("request", scenarios.run_failed().request("test", 1))
    said = Document(html).words
    assert "The inference run in dev failed" in said
    # The tile that says what happened, and the box that says why nobody can approve.
    assert said.count("config.json is missing") == 2
    assert "rougeL is missing" not in said
    assert "logStreamNameFilter$3Dpromotion-dev-v1" in html


def test_reported_and_registered_metrics_have_no_log() -> None:
    arn = package(1).arn
    assert run_log(arn, measured(0.5)) is not None
    assert run_log(arn, replace(measured(0.5), reporter="arn:aws:iam::1:role/r")) is None
    assert run_log(arn, replace(measured(0.5), source="registration")) is None


def test_registered_metrics_stand_beside_those_of_the_run() -> None:
    scenario = scenarios.open_gate()
    said = words(scenario, "test", 2)
    assert "Registered and measured" in said
    assert "Measured in dev" in said
    assert "Registered and measured" not in words(scenarios.first_request(), "dev", 1)


@pytest.mark.parametrize(
    ("verdict", "title", "after"),
    [
        ("Approved", "You approved this", "Next is test: its approvers are asked once there is evidence from dev."),
        ("Rejected", "You rejected this", "Dee is told your reason and can ask again."),
    ],
)
def test_an_approver_sees_their_own_decision_and_the_next_step(verdict: str, title: str, after: str) -> None:
    scenario = scenarios.first_request()
    scenario.decides("dev", 1, verdict, by=ANN)
    said = words(scenario, "dev", 1)
    assert title in said or verdict == "Rejected"  # after a rejection the form to ask again stands there
    assert "Nothing to decide" not in said
    if verdict == "Approved":
        assert after in said
        assert "Requests that wait for you" in said
    assert scenario.request("dev", 1, ANN)["yours"] == {
        "title": title,
        "text": scenario.request("dev", 1, ANN)["yours"]["text"],
    }
    assert after in scenario.request("dev", 1, ANN)["yours"]["text"]
    assert scenario.request("dev", 1, GIL)["yours"] is None


def test_a_pending_request_of_a_revoked_version_is_over() -> None:
    scenario = scenarios.first_request()
    scenario.revokes(1)
    outcome = scenario.request("dev", 1, ANN)["outcome"]
    assert (outcome["tone"], outcome["title"]) == ("bad", "Revoked")
    assert outcome["text"].startswith("Version 1 was revoked everywhere on ")


def test_a_vote_short_of_the_quorum_says_how_many_more_are_needed() -> None:
    said = words(scenarios.quorum(), "prod", 1)
    assert "You approved this 1 more approval by other people needed before it goes live." in said
    assert scenarios.quorum().request("prod", 1, CHO)["yours"] is None


def test_any_two_versions_can_be_compared() -> None:
    scenario = scenarios.open_gate()
    for one, other in ((2, 1), (1, 2)):
        said = Document(page("version", scenario.version(one, with_=other))).words
        assert f"v{other}v{one}Change" in said
        assert "Measured in dev" in said
        assert "training_data" in said
    assert "v1v2Change" not in Document(page("version", scenario.version(2))).words


@pytest.mark.parametrize(
    ("value", "said"),
    [(16030.4, "16,030"), (841871360.0, "841,871,360"), (0.09029, "0.09029"), (1.603e16, "1.603e+16"), (12.0, "12")],
)
def test_numbers_have_four_digits_and_no_exponent_that_people_can_do_without(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (88, "88 ms"),
        (1234, "1.23 s"),
        (16030, "16.0 s"),
        (150_000, "2.5 min"),
        (float("nan"), "missing"),
        (None, "missing"),
    ],
)
def test_durations_are_in_the_unit_that_people_use(value: float | None, said: str) -> None:
    assert duration(value) == said


def test_a_quantity_is_read_by_the_unit_in_its_name() -> None:
    assert quantity("peak_memory_bytes", 841871360) == "842 MB"
    assert quantity("load_ms", 16030) == "16.0 s"
    assert quantity("rougeL", 0.5) == "0.5"


@pytest.mark.parametrize(
    ("arn", "said"),
    [
        ("arn:aws:iam::123456789012:user/team/dee", "dee (IAM user)"),
        ("arn:aws:iam::123456789012:role/service-role/Trainer", "Trainer (role)"),
        ("arn:aws:sts::123456789012:assumed-role/MLEngineer/dee@example.com", "dee@example.com (role MLEngineer)"),
        ("arn:aws:iam::123456789012:root", "the root user of account 123456789012"),
        ("arn:aws:s3:::bucket", "arn:aws:s3:::bucket"),
        ("Ann Adler", "Ann Adler"),
        ("arn:", "arn:"),
    ],
)
def test_a_principal_is_named_and_not_shown_as_an_arn(arn: str, said: str) -> None:
    assert principal(arn) == said
    assert Actor(kind="operator", subject=arn).label == said


def test_a_name_given_by_the_provider_wins_over_the_arn() -> None:
    actor = Actor(kind="requester", subject="arn:aws:iam::123456789012:user/dee", name="Dee")
    scenario = Scenario()
    scenario.registers(1, requester=Requester(actor=actor, declared_by="identity"))
    assert "Registered by Dee (recorded by AWS)" in words(scenario, "dev", 1)


def test_names_that_hold_commas_are_listed_so_that_they_can_be_told_apart() -> None:
    assert listed_names(["ML, dev", "ML, test", "ML, dev"], "or") == "“ML, dev” or “ML, test”"
    assert listed_names(["ops", "ML"]) == "ops and ML"
    assert listed_names(["ML, dev"]) == "ML, dev"


def test_after_deciding_the_next_request_that_waits_for_the_person_is_one_click_away() -> None:
    scenario, other = scenarios.approved(), scenarios.open_gate()

    def asks(group: str, *, days: int, stop: str = "") -> EnvironmentState:
        until = BEGINNING + timedelta(days=days)
        state = other.view.environment("test")
        return replace(state, group=group, pending_id=f"{group}:2:test:1", pending_expires_at=until, pending_stop=stop)

    late, soon, stopped = asks("late", days=9), asks("soon", days=8), asks("stopped", days=7, stop="artifact")
    states = [late, soon, stopped, other.view.environment("test")]
    own = other.view.environment("test").pending_id
    given: dict[str, Any] = {"links": LINKS, "now": scenario.now, "apart_from": own}
    found = next_waiting(states, ANN, scenario.config, **given)
    assert (found["group"], found["more"]) == ("soon", 1)
    assert next_waiting(states, AUD, scenario.config, **given) == {}
    document = scenario.request("test", 2, ANN)
    assert "Requests that wait for you" in page("request", document)
    html = page("request", {**document, "next_waiting": found})
    assert "Next: soon v2 for test" in html
    assert "1 more request waits for you" in html
    assert "Nothing else waits for you." in page("request", {**document, "next_waiting": {}})


def test_a_zone_that_this_machine_does_not_have_is_utc() -> None:
    assert moment(BEGINNING, "Mars/Olympus_Mons") == moment(BEGINNING, "UTC") == "Fri 20 Nov 2026, 09:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "said"), [(-30, "just now"), (30, "in less than a minute"), (-60, "1 minute ago"), (7200, "in 2 hours")]
)
def test_a_time_is_said_from_now(seconds: int, said: str) -> None:
    assert ago(BEGINNING + timedelta(seconds=seconds), BEGINNING) == said


def test_times_are_in_the_configured_zone_with_utc_beside_them() -> None:
    scenario = scenarios.first_request()
    scenario.config = replace(scenario.config, mail=replace(scenario.config.mail, time_zone="Europe/Berlin"))
    html = pages.render("request", scenario.request("dev", 1), person=ANN, zone="Europe/Berlin")
    assert "Mon 23 Nov 2026, 10:00 CET (09:00 UTC)" in html
    assert 'datetime="2026-11-23T09:00:00Z"' in html, "for programs it stays UTC"
    scenario.later(hours=80)
    assert "CET (" in str(scenario.request("dev", 1)["outcome"])
