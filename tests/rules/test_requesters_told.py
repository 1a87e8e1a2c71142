"""A requester is told what stops a version when it happens; approvers are not asked for what they can't decide."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.domain.model import Metric
from promotion.domain.people import Actor, Person, Requester
from promotion.errors import AlreadyDecided, Refused
from promotion.rendering.mail import Message
from promotion.workflows import decisions, registry_changes, withdrawing
from tests.rules import scenarios
from tests.rules.policy_people import BEN
from tests.rules.scenario import ANN, CHO, CONFIG, Scenario, measured, page, registered

DEE = Person(subject="dee-7", name="Dee", email="dee@example.com")


def to_dee(scenario: Scenario, kind: str | None = None) -> list[Message]:
    return [mail for mail in scenario.mails(kind) if mail.to == ("dee@example.com",)]


def said(mail: Message) -> str:
    return " ".join(mail.text.split())


def withdraw(scenario: Scenario, person: Person = DEE, reason: str = "") -> None:
    asked = scenario.view.version(1).requests["dev"].id
    withdrawing.withdraw(asked, person, reason, context=scenario.context)


class TestStops:
    def test_a_bad_artifact_is_told_when_it_is_registered(self) -> None:
        scenario = Scenario()
        scenario.registers(1, problem="ModelDataUrl: there is no object at s3://models/x.tar.gz.")
        [told] = to_dee(scenario)
        assert told.subject == "[dev] news-summariser v1: stopped"
        assert "there is no object at s3://models/x.tar.gz" in said(told)
        assert "register it again" in said(told)

    @pytest.mark.parametrize(
        ("about", "cause"),
        [
            ({"problem": "there is no object at s3://models/x.tar.gz."}, "Register it again, mended."),
            ({"requester": None}, "Register it again with metadata requested_by"),
        ],
    )
    def test_an_expired_request_that_asking_again_would_not_help_says_what_does(
        self, about: dict[str, Any], cause: str
    ) -> None:
        scenario = Scenario()
        scenario.registers(1, **about)
        assert "ask again" not in page("request", scenario.request("dev", 1, ANN))
        scenario.later(hours=80)
        document = scenario.request("dev", 1, ANN)
        assert document["state"] == "Expired"
        assert "Nobody could approve it: " in document["why_not"]
        assert cause in document["why_not"]
        assert "ask again" not in document["why_not"]
        assert not document["may_ask_again"]
        assert "asked again" not in page("request", document)
        with pytest.raises(Refused):
            decisions.ask_again(scenario.view.version(1).requests["dev"].id, ANN, "Please.", context=scenario.context)

    def test_a_deleted_package_is_not_asked_for_again(self) -> None:
        scenario = one_version()
        scenario.decides("dev", 1, names.REJECTED)
        assert scenario.request("dev", 1, ANN)["may_ask_again"]
        registry_changes.record_removed(scenario.group, 1, context=scenario.context)
        assert not scenario.request("dev", 1, ANN)["may_ask_again"]

    def test_an_artifact_that_fails_to_hash_is_told_once_it_is_given_up(self) -> None:
        scenario = Scenario()
        scenario.registers(1, hashing=True)
        assert to_dee(scenario, names.APPROVAL_REQUESTED) == []
        for hashing in (True, False):
            decisions.record_artifact(
                scenario.group, 1, (), "it is no tar.gz", context=scenario.context, hashing=hashing
            )
        [told] = to_dee(scenario, names.ARTIFACT_HASHED)
        assert "it is no tar.gz" in said(told)

    def test_a_failed_gate_is_told_with_its_bound(self) -> None:
        [told] = to_dee(scenarios.shut_gate(), names.APPROVAL_REQUESTED)
        assert "rougeL is 0.12" in said(told)

    def test_a_passed_gate_sends_no_mail_to_the_requester(self) -> None:
        assert to_dee(scenarios.open_gate(), names.APPROVAL_REQUESTED) == []

    def test_a_failed_run_is_told_once_for_each_row_of_failures(self) -> None:
        scenario = Scenario()
        scenario.registers(1)
        scenario.decides("dev", 1)
        for run, status in enumerate(["Failed", "Failed", "Completed", "Failed"]):
            scenario.later(hours=1)
            metrics = {} if status == "Failed" else {"rougeL": Metric(value=0.9), "exact_match": Metric(value=0.9)}
            problem = f"AlgorithmError {run}" if status == "Failed" else ""
            found = measured(0.9, run_id=f"r-{run}", status=status, problem=problem, metrics=metrics)
            scenario.runs("dev", 1, found)
        told = [mail for mail in to_dee(scenario) if "inference run failed" in mail.subject]
        assert ["AlgorithmError 0" in told[0].text, "AlgorithmError 3" in told[1].text, len(told)] == [True, True, 2]
        assert [mail.subject for mail in to_dee(scenario, names.APPROVAL_REQUESTED)] == []

    def test_an_expiry_says_what_had_stopped_it(self) -> None:
        scenario = Scenario()
        scenario.registers(1, problem="ModelDataUrl: there is no object.")
        scenario.later(hours=80)
        scenario.keeps_time("dev")
        [told] = to_dee(scenario, names.REQUEST_EXPIRED)
        assert "there is no object" in said(told)
        assert "Ask again" not in said(told)


def test_metadata_without_room_is_said_at_registration_on_page_and_to_the_requester() -> None:
    scenario = Scenario()
    scenario.registers(1, no_room=True)
    [told] = to_dee(scenario, names.MODEL_REGISTERED)
    assert "50 properties are the most" in said(told)
    assert "50 properties are the most" in page("request", scenario.request("dev", 1))
    scenario.decides("dev", 1)


class TestApprovers:
    def test_they_are_not_reminded_of_what_they_cannot_approve(self) -> None:
        scenario = Scenario()
        scenario.registers(1, problem="ModelDataUrl: there is no object.")
        scenario.later(hours=40)
        scenario.keeps_time("dev")
        assert scenario.events[-1].kind == names.APPROVER_REMINDED
        assert scenario.mails(names.APPROVER_REMINDED) == []

    def test_an_approver_who_has_voted_is_not_reminded(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.9, to="prod")
        scenario.decides("prod", 1, by=CHO)
        scenario.later(hours=40)
        scenario.keeps_time("prod")
        [reminder] = scenario.mails(names.APPROVER_REMINDED)
        assert reminder.to == ("ann@example.com", "dan@example.com")

    def test_the_requester_is_not_asked_for_their_own_model(self) -> None:
        scenario = Scenario()
        scenario.registers(1, requester=of("ann@example.com"))
        assert scenario.mails(names.APPROVAL_REQUESTED)[0].to == ("ben@example.com",)

    def test_page_and_mail_say_where_nobody_else_may_decide(self) -> None:
        alone = replace(CONFIG.environments[0], approvers=("dee@example.com",))
        scenario = Scenario(replace(CONFIG, environments=(alone, *CONFIG.environments[1:])))
        scenario.registers(1)
        [mail] = scenario.mails(names.APPROVAL_REQUESTED)
        assert mail.to == ("dee@example.com",)
        assert "only approver" in said(mail)
        document = scenario.request("dev", 1)
        assert document["nobody_else_decides"]
        assert "is the only approver" in page("request", document)
        assert not one_version().request("dev", 1)["nobody_else_decides"]

    def test_an_earlier_approver_who_may_not_approve_here_is_not_asked(self) -> None:
        scenario = strict("ann@example.com", "ben@example.com")
        scenario.promotes(1, 0.9, to="test")
        [asked] = [mail for mail in scenario.mails(names.APPROVAL_REQUESTED) if mail.subject.startswith("[test]")]
        assert asked.to == ("ben@example.com",)
        assert [row["environment"] for row in scenario.board(BEN)["waiting"]] == ["test"]
        assert scenario.board(ANN)["waiting"] == []
        assert scenario.request("test", 1)["nobody_else_decides"] == ""

    def test_page_and_mail_say_where_all_approvers_approved_it_before(self) -> None:
        scenario = strict("ann@example.com")
        scenario.promotes(1, 0.9, to="test")
        [asked] = [mail for mail in scenario.mails(names.APPROVAL_REQUESTED) if mail.subject.startswith("[test]")]
        assert asked.to == ("ann@example.com",)
        assert asked.subject == "[test] news-summariser v1: no approver for test"
        assert "registered this version or approved it for dev" in said(asked)
        assert "registered this version or approved it for dev" in page("request", scenario.request("test", 1))

    def test_a_requester_who_may_approve_is_asked(self) -> None:
        alone = replace(CONFIG.environments[0], approvers=("dee@example.com",), requester_may_approve=True)
        scenario = Scenario(replace(CONFIG, environments=(alone, *CONFIG.environments[1:])))
        scenario.registers(1)
        assert not scenario.request("dev", 1)["nobody_else_decides"]


class TestWithdrawing:
    def test_a_requester_withdraws_and_nobody_decides_any_more(self) -> None:
        scenario = one_version()
        withdraw(scenario, reason="Wrong data.")
        assert scenario.view.version(1).statuses["dev"] == names.WITHDRAWN
        assert scenario.view.environment("dev").pending is None
        with pytest.raises(AlreadyDecided, match="withdrawn"):
            scenario.decides("dev", 1)
        document = scenario.request("dev", 1)
        assert (document["state"], document["outcome"]["title"]) == ("Withdrawn", "Withdrawn")
        assert "Withdrawn" in page("request", document)

    @pytest.mark.parametrize("person", [ANN, replace(DEE, email="Dee <dee@example.com>", subject="x")])
    def test_nobody_else_does(self, person: Person) -> None:
        scenario = one_version()
        with pytest.raises(Refused, match="Only the requester"):
            withdraw(scenario, person)
        assert not scenario.request("dev", 1, person)["may_withdraw"]

    def test_only_while_it_is_pending(self) -> None:
        scenario = one_version()
        scenario.decides("dev", 1)
        with pytest.raises(AlreadyDecided, match="pending"):
            withdraw(scenario)
        late = one_version()
        late.later(hours=73)
        with pytest.raises(AlreadyDecided, match="pending"):
            withdraw(late)

    def test_a_requester_asks_again_once_until_somebody_decides(self) -> None:
        scenario = one_version()
        scenario.decides("dev", 1, "Rejected")
        scenario.asks_again("dev", 1, DEE, "Trained without the names.")
        withdraw(scenario)
        assert not scenario.request("dev", 1, DEE)["may_ask_again"]
        with pytest.raises(Refused, match="nobody has decided since"):
            scenario.asks_again("dev", 1, DEE, "And once more.")
        scenario.asks_again("dev", 1, ANN, "Dee may.")
        scenario.later(minutes=1)
        scenario.decides("dev", 1, "Rejected")
        scenario.asks_again("dev", 1, DEE, "Now really.")
        assert scenario.view.environment("dev").pending == 1


class TestReading:
    def test_a_requester_gets_no_link_that_does_not_open_to_them(self) -> None:
        scenario = one_version()
        for name, document in (("request", scenario.request("dev", 1, DEE)), ("version", scenario.version(1, DEE))):
            assert not document["reads_all"]
            html = page(name, document, DEE)
            assert 'href="/"' not in html
            assert 'href="/models/news-summariser"' not in html

    @pytest.mark.parametrize("kind", [names.MODEL_ROLLED_BACK, names.MODEL_REVOKED, names.DECISION_RECORDED])
    def test_no_mail_to_a_requester_leads_to_a_page_that_is_closed_to_them(self, kind: str) -> None:
        story = scenarios.rejected() if kind == names.DECISION_RECORDED else scenarios.undone()
        told = to_dee(story, kind)
        assert told
        assert all("/models/news-summariser\n" not in f"{mail.text}\n" for mail in told)

    def test_no_page_promises_a_reason_to_whom_nobody_can_write(self) -> None:
        scenario = Scenario()
        scenario.registers(1, requester=of("dee"))
        assert "is told your reason" not in scenario.request("dev", 1)["consequences"]["reject"]
        assert "is told your reason" in one_version().request("dev", 1)["consequences"]["reject"]


def strict(*approvers: str) -> Scenario:
    """A service where `approvers` are named for test, and may not approve a version that they approved for dev."""
    first, test, *others = CONFIG.environments
    changed = replace(test, approvers=approvers, previous_approver_may_approve=False)
    return Scenario(replace(CONFIG, environments=(first, changed, *others)))


def of(subject: str) -> Requester:
    actor = Actor(kind="requester", subject=subject, email=subject if "@" in subject else "")
    return Requester(actor=actor, declared_by="self")


def one_version() -> Scenario:
    scenario = Scenario()
    scenario.registers(1, evidence=registered(0.7))
    return scenario
