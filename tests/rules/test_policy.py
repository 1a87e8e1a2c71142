"""Permissions in each situation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.domain import policy
from promotion.domain.people import Actor, Person, Requester
from promotion.errors import Refused
from promotion.workflows import decisions
from tests.fakes import ANN, BEN, CHO, CONFIG_TEXT, GIL, OPERATOR, FakeService

AUD = Person(subject="aud", name="Aud", groups=frozenset({"auditors"}))
EVE = Person(subject="eve", name="Eve", groups=frozenset())
MAKES_OWN = Requester(actor=Actor(kind="requester", subject="ANN@example.com"), declared_by="self")


def at_dev(fake: FakeService, **about: Any) -> policy.Situation:
    fake.register(1, **about)
    return decisions.situation(fake.view(), fake.asked(1, "dev"), context=fake.context)


def at_prod(fake: FakeService) -> policy.Situation:
    fake.promote(1, to="test")
    fake.measure(1, "test")
    return decisions.situation(fake.view(), fake.asked(1, "prod"), context=fake.context)


def code(person: Person, verdict: names.Verdict, situation: policy.Situation, **more: Any) -> str:
    judgement = policy.may_decide(person, verdict, situation, **more)
    assert judgement.may == (not judgement.code)
    return judgement.code


@pytest.mark.parametrize("verdict", names.VERDICTS)
def test_only_the_environments_own_approvers_decide(verdict: names.Verdict) -> None:
    situation = at_dev(FakeService())
    assert code(ANN, verdict, situation) == code(BEN, verdict, situation) == ""
    for person in (CHO, AUD, EVE, GIL):
        assert code(person, verdict, situation) == "not_approver"


def test_the_requester_may_reject_but_not_approve_their_own_model() -> None:
    situation = at_dev(FakeService(), requester=MAKES_OWN)
    assert code(ANN, names.APPROVED, situation) == "own_model"
    assert code(ANN, names.REJECTED, situation) == ""


def test_nobody_approves_what_nobody_knows_the_requester_of() -> None:
    assert code(ANN, names.APPROVED, at_dev(FakeService(), requester=None)) == "requester_unknown"


def test_the_requester_may_approve_where_the_policy_says_so() -> None:
    lenient = parse(CONFIG_TEXT.replace('name = "dev"', 'name = "dev"\nrequester_may_approve = true', 1))
    assert code(ANN, names.APPROVED, at_dev(FakeService(lenient), requester=MAKES_OWN)) == ""
    assert code(ANN, names.APPROVED, at_dev(FakeService(lenient), requester=None)) == ""


def test_four_eyes_across_environments_where_the_policy_says_so() -> None:
    strict = CONFIG_TEXT.replace('name = "test"', 'name = "test"\nprevious_approver_may_approve = false', 1)
    fake = FakeService(parse(strict))
    fake.promote(1, to="dev")
    fake.measure(1, "dev")
    situation = decisions.situation(fake.view(), fake.asked(1, "test"), context=fake.context)
    assert code(ANN, names.APPROVED, situation) == "previous_approver"
    assert code(BEN, names.APPROVED, situation) == ""


@pytest.mark.parametrize(("passed", "expected"), [(("dev", "test"), ""), (("dev",), "skips"), ((), "skips")])
def test_nothing_skips_an_environment(passed: tuple[str, ...], expected: str) -> None:
    situation = at_prod(FakeService())
    version = replace(situation.version, passed=passed)
    assert code(CHO, names.APPROVED, replace(situation, version=version)) == expected


def test_a_rolled_back_version_has_not_passed_until_it_is_live_again() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    fake.promote(2, to="dev")
    assert (fake.view().version(1).passed, fake.view().version(2).passed) == (("dev",), ("dev",))
    fake.roll_back("dev")
    assert fake.view().version(2).passed == ()
    fake.roll_back("dev", to=2)
    assert fake.view().version(2).passed == ("dev",)


def test_a_shut_gate_refuses_approval_and_names_who_could() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    fake.measure(1, "dev", 0.1)
    situation = decisions.situation(fake.view(), fake.asked(1, "test"), context=fake.context)
    judgement = policy.may_decide(ANN, names.APPROVED, situation)
    assert (judgement.code, judgement.who_may) == ("gate_shut", "On call may pass a failed gate.")
    assert code(ANN, names.REJECTED, situation) == ""
    assert code(ANN, names.APPROVED, situation, breaking_glass=True) == "gate_shut", "asking for it is not holding it"


def test_breaking_the_glass_passes_a_shut_gate_and_a_missing_quorum_alone() -> None:
    fake = FakeService()
    fake.promote(1, to="test")
    fake.measure(1, "test", 0.1)
    receipt = fake.decide(1, "prod", GIL, breaking_glass=True, reason="The old one is down.")
    assert fake.live("prod") == 1
    assert [event.data.get("broke_glass") for event in receipt.events] == [True, True]


def test_a_break_glass_member_may_not_reject() -> None:
    situation = at_prod(FakeService())
    assert code(GIL, names.REJECTED, situation) == "not_approver"
    assert code(GIL, names.REJECTED, situation, breaking_glass=True) == "not_approver"
    assert code(GIL, names.APPROVED, situation) == "not_approver"
    assert policy.may_decide(GIL, names.APPROVED, situation, breaking_glass=True).breaks_glass


def test_no_glass_passes_a_damaged_artifact_or_ones_own_model() -> None:
    own = Requester(actor=GIL.as_actor(), declared_by="identity")
    for about in ({"problem": "the archive is damaged"}, {"hashing": True}, {"requester": own}):
        assert code(GIL, names.APPROVED, at_dev(FakeService(), **about), breaking_glass=True)


def test_a_request_that_moved_on_is_told_before_who_may_decide() -> None:
    fake = FakeService()
    situation = at_dev(fake)
    decided = replace(situation, request=replace(situation.request, state="Rejected"))
    assert policy.may_decide(EVE, names.APPROVED, decided).kind == "state"
    overtaken = replace(situation, environment=replace(situation.environment, live=2))
    assert code(ANN, names.APPROVED, overtaken) == "overtaken"
    fake.later(hours=73)
    assert policy.may_decide(EVE, names.APPROVED, replace(situation, now=fake.now)).kind == "expired"


def test_approvers_and_auditors_read_and_strangers_do_not() -> None:
    config = FakeService().config
    assert [policy.may_read(person, config) for person in (ANN, CHO, AUD, GIL, EVE)] == [True, True, True, True, False]


@pytest.mark.parametrize(
    "may",
    [
        lambda actor, config: policy.may_roll_back(actor, "prod", "g", config),
        lambda actor, config: policy.may_revoke(actor, "g", config),
    ],
)
def test_a_system_or_requester_decides_nothing(may: Callable[..., policy.Judgement]) -> None:
    config = FakeService().config
    assert may(OPERATOR, config).may
    assert may(CHO, config).may
    for actor in (Actor(kind="system", subject="s"), Actor(kind="requester", subject="r"), AUD, EVE):
        with pytest.raises(Refused):
            may(actor, config).require()


def test_an_override_gives_a_group_its_own_approvers() -> None:
    override = '[groups_override."fraud-*".environments.dev]\napprover_group = { id = "fraud" }\nquorum = 3\n'
    config = parse(CONFIG_TEXT + override)
    assert config.environment("dev", "fraud-cards").quorum == 3
    assert policy.may_roll_back(ANN, "dev", "fraud-cards", config).code == "not_approver"
    assert policy.may_roll_back(ANN, "dev", "news", config).may
    assert "fraud" in policy.known_groups(config)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("ann", ""), ("ANN", ""), True),
        (("ann", "ann@x.org"), ("ann@x.org", ""), True),
        (("ann", ""), ("ben", ""), False),
        (("", ""), ("", ""), False),
    ],
)
def test_the_same_person_is_known_by_subject_or_address(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    first, second = (Actor(kind="person", subject=subject, email=email) for subject, email in (one, other))
    assert first.is_also(second) is same
