"""Mail to the right people: requesters, approvers, and nobody whose address is none."""

from __future__ import annotations

import pytest

from promotion import names
from promotion.domain.people import Actor, Requester
from promotion.rendering.documents.card import requester_address
from promotion.rendering.mail import compose
from tests.rules import scenarios
from tests.rules.scenario import ANN, CHO, CONFIG, GIL, LINKS, Scenario, package, picture
from tests.rules.test_mail import MAILS


def test_the_requester_hears_of_approval_and_rejection_with_the_reason() -> None:
    assert MAILS["promoted"].to == ("dee@example.com",)
    assert MAILS["rejected"].to == ("dee@example.com",)
    assert "חוזר על עצמו. 总结重复。 🙈" in MAILS["rejected"].text
    assert "Good enough on every slice." in MAILS["promoted"].text


def test_nobody_is_written_to_where_the_requester_has_no_address() -> None:
    scenario = Scenario()
    scenario.registers(
        1, requester=Requester(actor=Actor(kind="requester", subject="user/dee"), declared_by="identity")
    )
    scenario.decides("dev", 1, "Rejected")
    assert scenario.mails(names.DECISION_RECORDED) == []


@pytest.mark.parametrize(
    "subject",
    [
        "dee",
        "arn:aws:iam::123456789012:user/dee",
        "dee@example.com\r\nBcc: eve@example.com",
        "a@b@c",
        "dée@example.com",
        "@x.org",
    ],
)
def test_an_invalid_address_gets_no_mail(subject: str) -> None:
    actor = Actor(kind="requester", subject=subject)
    assert requester_address(package(1, requester=Requester(actor=actor, declared_by="self"))) == ""


def test_an_expiry_goes_to_the_requester_or_else_to_the_approvers() -> None:
    for requester, to in (
        (scenarios.expired, ("dee@example.com",)),
        (scenarios.nothing_known, ("ann@example.com", "ben@example.com")),
    ):
        scenario = requester()
        scenario.later(hours=80)
        scenario.keeps_time("dev")
        [message] = scenario.mails(names.REQUEST_EXPIRED)
        assert message.to == to
        assert ("not a rejection" in message.text) == (requester is scenarios.expired)


def test_approvers_are_reminded_at_half_time_and_not_of_what_was_decided() -> None:
    scenario = Scenario()
    scenario.registers(1)
    scenario.later(hours=40)
    scenario.keeps_time("dev")
    [message] = scenario.mails(names.APPROVER_REMINDED)
    assert message.to == ("ann@example.com", "ben@example.com")
    assert message.subject == "[dev] news-summariser v1: still pending, 32 hours left"
    scenario.decides("dev", 1)
    assert scenario.mails(names.APPROVER_REMINDED) == []


def test_only_somebody_elses_newer_version_is_news_to_a_requester() -> None:
    own, others = scenarios.first_request(), scenarios.first_request()
    own.registers(2)
    others.registers(
        2, requester=Requester(actor=Actor(kind="requester", subject="kim@example.com"), declared_by="self")
    )
    assert own.mails(names.REQUEST_SUPERSEDED) == []
    [message] = others.mails(names.REQUEST_SUPERSEDED)
    assert message.to == ("dee@example.com",)
    assert message.subject == "[dev] news-summariser v1: superseded by v2"


def test_a_revocation_reaches_every_approver_of_every_environment() -> None:
    assert MAILS["revoked"].to == ("ann@example.com", "ben@example.com", "cho@example.com", "dan@example.com")


def test_breaking_the_glass_is_told_to_every_approver_of_the_environment() -> None:
    scenario = scenarios.shut_gate()
    scenario.decides("test", 1, by=GIL, reason="The old model is down.")
    [message] = scenario.mails(names.DECISION_RECORDED)[-1:]
    assert message.to == ("ann@example.com", "ben@example.com")
    assert message.subject == "[test] news-summariser v1: approved by breaking the glass, by Gil on call"
    assert "The old model is down." in message.text


def test_a_vote_short_of_the_quorum_is_no_mail() -> None:
    scenario = scenarios.quorum()
    prod = [event for event in scenario.events if event.environment == "prod" and event.kind == names.DECISION_RECORDED]
    assert compose(prod[0], view=scenario.view, config=CONFIG, links=LINKS, picture=picture) == []
    scenario.decides("prod", 1, by=CHO)
    assert scenario.mails(names.MODEL_PROMOTED)[-1].subject == "[prod] news-summariser v1: approved, live in prod"


def test_asking_again_says_what_has_changed() -> None:
    scenario = scenarios.rejected()
    scenario.asks_again("dev", 1, ANN, "It no longer repeats itself.")
    assert "It no longer repeats itself." in scenario.mails(names.APPROVAL_REQUESTED)[-1].text
