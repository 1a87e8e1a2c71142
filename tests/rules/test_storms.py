"""Many requests within a short time: approvers get mail about the newest, requesters and reminders come as digests."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.domain.people import Actor, Requester
from promotion.workflows import decisions, storms
from tests.fakes import ANN, GROUP, FakeService
from tests.settled import Post

DEE = Requester(actor=Actor(kind="requester", subject="dee@example.com", email="dee@example.com"), declared_by="self")


def arriving(post: Post, order: list[int], apart_s: float = 1.0) -> None:
    for version in order:
        post.fake.register(version, requester=DEE)
        assert post.fake.project() == []
        post.pass_time(seconds=apart_s)


def shuffled(count: int) -> list[int]:
    order = list(range(1, count + 1))
    random.Random(7).shuffle(order)
    assert order[0] != count
    return order


def test_the_first_request_of_a_storm_is_mailed_at_once_and_the_newest_once_it_is_quiet() -> None:
    post = Post(FakeService())
    order = shuffled(30)
    arriving(post, order)
    assert post.mails_to("ann@example.com") == [f"[dev] {GROUP} v{order[0]}: approve for dev"]
    post.pass_time(minutes=2)
    assert post.mails_to("ann@example.com") == [
        f"[dev] {GROUP} v{order[0]}: approve for dev",
        f"[dev] {GROUP} v30: approve for dev",
    ]


def test_requesters_of_superseded_versions_get_one_digest() -> None:
    post = Post(FakeService())
    arriving(post, shuffled(30))
    post.pass_time(minutes=5)
    [subject] = post.mails_to("dee@example.com")
    assert subject == f"29 requests of {GROUP} were superseded"
    [text] = [text for people, _, text in post.sent if people == ["dee@example.com"]]
    assert text.count("superseded by v30") >= 1
    assert "https://promotion.example.com/approvals/" in text


def test_channels_are_told_what_is_mailed_and_nothing_of_dead_requests() -> None:
    post = Post(FakeService())
    order = shuffled(30)
    arriving(post, order)
    post.pass_time(minutes=5)
    assert [versions for kind, versions in post.told if kind == names.APPROVAL_REQUESTED] == [[order[0]], [30]]
    [superseded] = [versions for kind, versions in post.told if kind == names.REQUEST_SUPERSEDED]
    assert sorted(superseded) == list(range(1, 30))
    assert len(post.told) == 3


def test_channels_are_told_once_of_a_request_whose_mail_fails_at_first() -> None:
    post = Post(FakeService())
    post.refused = "ann@example.com"
    post.fake.register(1, requester=DEE)
    assert [failure.target for failure in post.fake.project()] == [names.MAIL]
    post.refused = ""
    assert post.fake.project() == []
    assert post.told == [(names.APPROVAL_REQUESTED, [1])]


def test_a_single_version_of_ones_own_that_is_superseded_is_no_news() -> None:
    post = Post(FakeService())
    arriving(post, [1, 2], apart_s=600)
    assert post.mails_to("dee@example.com") == []


def test_requests_that_come_one_by_one_are_each_mailed_at_once() -> None:
    post = Post(FakeService())
    for number in (1, 2, 3):
        post.fake.register(number)
        post.fake.project()
        assert len(post.mails_to("ann@example.com")) == number
        post.pass_time(seconds=60)


def test_a_storm_that_does_not_end_is_mailed_every_five_times_settle() -> None:
    post = Post(FakeService())
    arriving(post, list(range(1, 61)), apart_s=10)
    assert len(post.mails_to("ann@example.com")) == 3, "at once, after 300 s, after 600 s"


def test_nobody_gets_mail_about_what_was_decided_while_its_mail_waited() -> None:
    post = Post(FakeService())
    arriving(post, [1, 2])
    post.fake.decide(2, "dev", verdict=names.REJECTED)
    post.fake.project()
    post.pass_time(minutes=5)
    assert post.mails_to("ben@example.com") == [f"[dev] {GROUP} v1: approve for dev"]


def test_other_mail_of_the_group_does_not_wait() -> None:
    post = Post(FakeService())
    arriving(post, [1, 2])
    post.fake.revoke(1)
    post.fake.project()
    assert any("revoked" in subject for subject in post.mails_to("ben@example.com"))


def test_without_settle_everything_is_mailed_at_once() -> None:
    fake = FakeService()
    fake.config = replace(fake.config, mail=replace(fake.config.mail, settle="0s"))
    post = Post(fake)
    arriving(post, [1, 2, 3])
    assert len(post.mails_to("ann@example.com")) == 3
    assert post.held.timers == []


def test_reminders_of_many_requests_are_one_mail_to_each_approver() -> None:
    post, groups = Post(FakeService()), [f"group-{number:02d}" for number in range(18)]
    for group in groups:
        post.fake.register(1, group)
        post.fake.project(group)
    post.sent.clear()
    post.pass_time(hours=37)
    decisions.record_decision(
        post.fake.asked(1, "dev", groups[0]), ANN, names.APPROVED, "Good.", context=post.fake.context
    )
    sweep(post, groups)
    assert post.mails_to("ann@example.com") == ["17 requests are still pending"]
    assert post.mails_to("ben@example.com") == ["17 requests are still pending"]


def test_expiries_of_many_requests_are_one_mail_and_one_alone_is_the_usual_mail() -> None:
    post, groups = Post(FakeService()), [f"group-{number:02d}" for number in range(3)]
    for group in groups:
        post.fake.register(1, group, requester=DEE)
        post.fake.project(group)
    post.sent.clear()
    post.pass_time(hours=73)
    sweep(post, groups)
    assert post.mails_to("dee@example.com") == ["3 requests expired"]
    alone = Post(FakeService())
    alone.fake.register(1, requester=DEE)
    alone.fake.project()
    alone.pass_time(hours=73)
    sweep(alone, [GROUP])
    assert alone.mails_to("dee@example.com") == [f"[dev] {GROUP} v1: request expired"]


def test_a_digest_that_broke_off_goes_on_with_those_who_had_none() -> None:
    post = Post(FakeService())
    for group in ("a", "b"):
        post.fake.register(1, group, requester=replace(DEE, actor=replace(DEE.actor, email=f"{group}@example.com")))
        post.fake.project(group)
    post.sent.clear()
    post.pass_time(hours=73)
    for group in ("a", "b"):
        decisions.keep_time(post.fake.view(group).environment("dev"), context=post.fake.context)
        post.fake.project(group)
    whole, calls = post.held.put, []

    def dying(waiting: object) -> None:
        whole(waiting)  # type: ignore[arg-type]
        calls.append(waiting)
        raise TimeoutError

    post.held.put = dying  # type: ignore[method-assign]
    try:
        post.pass_time(minutes=2)
    except TimeoutError:
        post.held.put = whole  # type: ignore[method-assign]
    post.held.wake(names.DIGEST, timedelta())
    post.pass_time(minutes=2)
    assert [len(post.mails_to(f"{group}@example.com")) for group in ("a", "b")] == [1, 1]
    assert post.held.waiting == {}


def test_an_address_that_ses_refuses_stops_no_other_digest() -> None:
    post, groups = Post(FakeService()), ["a", "b", "c"]
    for group in groups:
        post.fake.register(1, group, requester=replace(DEE, actor=replace(DEE.actor, email=f"{group}@example.com")))
        post.fake.project(group)
    post.pass_time(hours=73)
    post.sent.clear()
    post.refused = "a@example.com"
    for group in groups:
        decisions.keep_time(post.fake.view(group).environment("dev"), context=post.fake.context)
        post.fake.project(group)
    with pytest.raises(ValueError, match="refused"):
        post.pass_time(minutes=2)
    assert [len(post.mails_to(f"{group}@example.com")) for group in groups] == [0, 1, 1]
    assert list(post.held.waiting) == [("a", 4)], "it is tried again"


def test_an_environment_whose_mail_is_refused_keeps_no_other_from_its_own() -> None:
    post = Post(FakeService())
    post.fake.promote(1, to="test")
    post.fake.measure(1, "test", 0.7)
    post.fake.project()
    asked = post.fake.ledger.head(GROUP).sequence
    arriving(post, [2, 3])
    post.sent.clear()
    before = post.held.storms(GROUP)["dev"].last_at
    post.held.put_storm(GROUP, "prod", storms.Storm(sequence=asked, last_at=before, mailed_at=before, held=asked))
    post.refused = "cho@example.com"
    assert next(iter(post.held.storms(GROUP))) == "prod", "whose mail is refused comes first"
    with pytest.raises(ValueError, match="refused"):
        post.pass_time(minutes=5)
    assert [subject for _, subject, _ in post.sent] == [f"[dev] {GROUP} v3: approve for dev"]
    assert {name: storm.held is None for name, storm in post.held.storms(GROUP).items()} == {"prod": False, "dev": True}


def test_the_same_request_once_more_changes_nothing_of_a_storm() -> None:
    fake, settle = FakeService(), timedelta(seconds=60)
    first = storms.requested(None, 2, fake.now, settle)
    assert storms.requested(first, 2, fake.now, settle) == first
    held = storms.requested(first, 5, fake.now + timedelta(seconds=10), settle)
    assert storms.requested(held, 5, fake.now + timedelta(seconds=10), settle) == held
    assert held.due(settle) == fake.now + timedelta(seconds=70)


def sweep(post: Post, groups: list[str]) -> None:
    """The sweep times every request; a second apart, and then the minutes pass in which mail settles."""
    for group in groups:
        decisions.keep_time(post.fake.view(group).environment("dev"), context=post.fake.context)
        assert post.fake.project(group) == []
        post.pass_time(seconds=1)
    post.pass_time(minutes=3)


def test_a_group_that_cannot_be_read_keeps_no_other_from_its_digest() -> None:
    post = Post(FakeService())
    for group in ("broken", "whole"):
        for version in (1, 2, 3):
            post.fake.register(version, group, requester=DEE)
    for group in ("broken", "whole"):
        assert post.fake.project(group) == []
    assert {group for group, _ in post.held.waiting} == {"broken", "whole"}
    for (group, key), _ in list(post.fake.ledger.items.items()):
        if group == "broken" and key.startswith("EVENT#"):
            post.fake.ledger.items[group, key] = b"[" * 4_000
    post.held.timers.clear()
    post.fake.now += timedelta(minutes=5)
    with pytest.raises((ValueError, RecursionError)):
        post.mail.send_digest()
    assert post.mails_to("dee@example.com") == ["2 requests of whole were superseded"]
    assert {group for group, _ in post.held.waiting} == {"broken"}
