"""An address that SES refuses for good: everybody else gets their mail, nothing waits for it, and people see it."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from promotion.aws.messages.refused_mail import is_for_good
from promotion.domain.people import Actor, Requester
from promotion.ledger.events import RefusedMail
from promotion.rendering.documents.approval_request import refused_addresses
from promotion.workflows import decisions
from tests.fakes import GROUP, FakeService
from tests.rules.scenario import ANN, BEGINNING, Scenario, page
from tests.settled import Post

DEE = Requester(actor=Actor(kind="requester", subject="dee@example.com", email="dee@example.com"), declared_by="self")


def of(group: str) -> Requester:
    return replace(DEE, actor=replace(DEE.actor, email=f"{group}@example.com"))


def expired(post: Post, groups: list[str]) -> None:
    for group in groups:
        post.fake.register(1, group, requester=of(group))
        post.fake.project(group)
    post.pass_time(hours=73)
    post.sent.clear()
    for group in groups:
        decisions.keep_time(post.fake.view(group).environment("dev"), context=post.fake.context)
        post.fake.project(group)


def test_a_digest_ends_once_all_who_can_be_reached_have_had_it() -> None:
    post = Post(FakeService())
    post.refused_for_good = "a@example.com"
    expired(post, ["a", "b"])
    post.pass_time(minutes=2)
    assert [len(post.mails_to(f"{group}@example.com")) for group in ("a", "b")] == [0, 1]
    assert post.held.waiting == {}
    [untold] = post.untold
    assert (untold.group, untold.version, untold.address) == ("a", 1, "a@example.com")
    assert "not verified" in untold.reason
    # What comes later settles again, in one mail.
    post.sent.clear()
    expired(post, ["c", "d"])
    assert post.sent == []


def test_one_of_several_recipients_takes_no_mail_from_the_others() -> None:
    post = Post(FakeService())
    post.refused_for_good = "ann@example.com"
    post.fake.register(1, requester=DEE)
    assert post.fake.project() == []
    subject = f"[dev] {GROUP} v1: approve for dev"
    assert post.mails_to("ben@example.com") == [subject]
    assert post.mails_to("ann@example.com") == []
    assert [each.address for each in post.untold] == ["ann@example.com"]


def test_an_address_that_gets_mail_again_is_named_no_more() -> None:
    post = Post(FakeService())
    post.refused_for_good = "ann@example.com"
    post.fake.register(1)
    post.fake.project()
    assert [each.address for each in post.untold] == ["ann@example.com"]
    post.refused_for_good = "ben@example.com"
    post.pass_time(hours=1)
    post.fake.register(2)
    post.fake.project()
    post.pass_time(minutes=10)
    assert [each.address for each in post.untold] == ["ben@example.com"]


@pytest.mark.parametrize(
    ("code", "said", "for_good"),
    [
        ("MessageRejected", "Email address is not verified: dee@example.com", True),
        ("BadRequestException", "Illegal address", True),
        ("MessageRejected", "Email address is not verified: promotion@example.com, dee@example.com", False),
        ("TooManyRequestsException", "Maximum sending rate exceeded.", False),
        ("SendingPausedException", "Email sending is paused.", False),
        ("AccessDeniedException", "not authorized to perform: ses:SendEmail", False),
    ],
)
def test_only_what_the_recipient_causes_is_for_good(code: str, said: str, for_good: bool) -> None:
    error = ClientError({"Error": {"Code": code, "Message": said}}, "SendEmail")
    assert is_for_good(error, "Promotion <promotion@example.com>") is for_good


def test_the_page_names_who_is_told_nothing() -> None:
    scenario = Scenario()
    scenario.registers(1)
    situation = decisions.situation(
        scenario.view, scenario.view.version(1).requests["dev"].id, context=scenario.context
    )
    before = replace(situation.request, requested_at=BEGINNING)
    situation = replace(situation, request=before)

    def refusal(address: str) -> RefusedMail:
        return RefusedMail(
            group=scenario.group,
            address=address,
            version=1,
            environment="dev",
            at=BEGINNING,
            reason="Illegal <address>",
        )

    refused = [refusal(address) for address in ("Ann@example.com", "dee@example.com", "gone@example.com")]
    found = refused_addresses(situation, refused, ANN)
    assert [each["address"] for each in found] == ["Ann@example.com", "dee@example.com"]
    own = refused_addresses(situation, refused, replace(ANN, groups=frozenset()))
    assert [each["address"] for each in own] == ["dee@example.com"]
    html = page("request", {**scenario.request("dev", 1), "mail_refused": found})
    assert "SES refuses mail to" in html
    assert "Illegal &lt;address&gt;" in html
    assert "SES refuses mail to" not in page("request", scenario.request("dev", 1))
