"""An environment that measures nothing: the next request is made without a run, or team and requester hear what is missing."""

from __future__ import annotations

from typing import Literal

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import Config
from promotion.config.settings import EnvironmentOverride, Gate, GroupOverride
from promotion.domain import without_run
from promotion.workflows import operations
from promotion.workflows.unmeasured import record_unmeasured
from tests.fakes import OPERATOR
from tests.rules.scenario import CONFIG, GROUP, Scenario, measured, page, registered

NO_INPUT = "There is no input at s3://models/news/dev/input.jsonl"


def config(*, gates: tuple[Gate, ...] = (), chosen: Literal["ask", "wait"] | None = None) -> Config:
    """The configuration with these gates into test, and this choice for dev."""
    dev, test, *others = CONFIG.environments
    return replace(CONFIG, environments=(replace(dev, without_run=chosen), replace(test, gates=gates), *others))


def live_in_dev(rules: Config) -> Scenario:
    scenario = Scenario(rules)
    scenario.registers(1, evidence=registered(0.7))
    scenario.decides("dev", 1)
    return scenario


def unmeasured(scenario: Scenario, name: str = "dev") -> str:
    return record_unmeasured(scenario.group, 1, name, NO_INPUT, context=scenario.context).note


METRIC = (Gate(metric="rougeL", min=0.6),)


@pytest.mark.parametrize(
    ("gates", "chosen", "asks"),
    [
        ((), None, True),
        ((Gate(licences=("mit",)), Gate(requires="report")), None, True),
        (METRIC, None, False),
        ((Gate(largest_error_rate=0.1),), None, False),
        ((Gate(largest_drift=0.1),), None, False),
        ((), "wait", False),
        (METRIC, "ask", True),
    ],
)
def test_by_default_the_next_environment_is_asked_where_its_gates_need_nothing_measured(
    gates: tuple[Gate, ...], chosen: Literal["ask", "wait"] | None, asks: bool
) -> None:
    scenario = live_in_dev(config(gates=gates, chosen=chosen))
    unmeasured(scenario)
    assert ("test" in scenario.view.version(1).requests) == asks
    assert scenario.events[-2 if asks else -1].kind == names.INFERENCE_SKIPPED


def test_a_group_may_choose_otherwise() -> None:
    override = GroupOverride(environments={"dev": EnvironmentOverride(without_run="wait")})
    scenario = live_in_dev(replace(config(), groups_override={GROUP: override}))
    unmeasured(scenario)
    assert "test" not in scenario.view.version(1).requests


def test_the_request_says_that_nothing_was_measured() -> None:
    scenario = live_in_dev(config())
    unmeasured(scenario)
    document = scenario.request("test", 1)
    assert document["evidence"]["problems"] == [f"Not measured in dev: {NO_INPUT}."]
    assert "Not measured in dev" in page("request", document)
    [mail] = scenario.mails(names.APPROVAL_REQUESTED)[-1:]
    assert "Not measured in dev" in " ".join(mail.text.split())
    assert scenario.mails(names.INFERENCE_SKIPPED) == []


def test_asked_in_spite_of_a_gate_on_a_metric_it_is_stopped_by_it() -> None:
    scenario = live_in_dev(config(gates=METRIC, chosen="ask"))
    unmeasured(scenario)
    assert not scenario.view.version(1).requests["test"].gates_open


def test_team_and_requester_are_mailed_what_is_missing_and_how_to_report_it() -> None:
    scenario = live_in_dev(config(gates=METRIC))
    unmeasured(scenario)
    team, own = scenario.mails(names.INFERENCE_SKIPPED)
    assert (team.to, own.to) == (("ann@example.com", "ben@example.com"), ("dee@example.com",))
    for mail in (team, own):
        said = " ".join(mail.text.split())
        assert "s3://models/news/dev/input.jsonl" in said
        assert "need rougeL" in said
        assert f"promotion report {GROUP} dev 1 --metrics FILE" in said


def test_it_is_recorded_once_however_often_a_schedule_finds_nothing() -> None:
    scenario = live_in_dev(config(gates=METRIC))
    unmeasured(scenario)
    head = scenario.view.head
    for _ in range(3):
        assert "recorded already" in unmeasured(scenario)
    assert scenario.view.head == head


def test_results_that_come_later_ask_or_add_to_what_was_asked() -> None:
    for rules in (config(gates=METRIC), config()):
        scenario = live_in_dev(rules)
        unmeasured(scenario)
        scenario.runs("dev", 1, measured(0.8, run_id="late"))
        request = scenario.view.version(1).requests["test"]
        assert (request.attempt, request.evidence.run_id) == (1, "late")


def test_versions_no_longer_live_or_already_decided_are_left_alone() -> None:
    scenario = live_in_dev(config())
    unmeasured(scenario)
    scenario.decides("test", 1, "Rejected")
    assert "asked already" in unmeasured(scenario) or "recorded already" in unmeasured(scenario)
    gone = live_in_dev(config())
    gone.revokes(1)
    assert "not live" in unmeasured(gone)
    last = Scenario(replace(CONFIG, environments=CONFIG.environments[:1]))
    last.registers(1)
    last.decides("dev", 1)
    assert "no environment comes after" in unmeasured(last)


@pytest.mark.parametrize(
    ("chosen", "said"), [("ask", "asked without a measurement"), ("wait", "nobody is asked until results are reported")]
)
def test_before_the_decision_only_what_will_happen_is_promised(chosen: Literal["ask", "wait"], said: str) -> None:
    scenario = Scenario(config(chosen=chosen))
    scenario.registers(1)
    assert said in scenario.request("dev", 1)["consequences"]["approve"]
    scenario.decides("dev", 1)
    [mail] = scenario.mails(names.MODEL_PROMOTED)
    assert said in " ".join(mail.text.split())
    assert without_run.what_follows(CONFIG, "prod", GROUP) == ""


def test_where_the_next_environment_has_the_version_already_nobody_is_asked() -> None:
    scenario = live_in_dev(config())
    operations.adopt(scenario.view.version(1).package, "test", OPERATOR, "It served before.", context=scenario.context)
    before = len(scenario.events)
    assert unmeasured(scenario) == "test was asked already"
    assert len(scenario.events) == before
