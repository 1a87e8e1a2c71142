"""Rolling back, revoking, adopting, and noticing what others did."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.domain.model import registry_status
from promotion.domain.people import Actor
from promotion.errors import AlreadyDecided, Invalid, NotApproved, Refused
from promotion.ledger.events import Event
from promotion.workflows import decisions, operations
from tests.fakes import (
    ANN,
    BEN,
    CHO,
    CONFIG_TEXT,
    GIL,
    GROUP,
    OPERATOR,
    FakeService,
    a_package,
    a_registration,
    signed_in,
)

FREEZE = '[[freeze]]\nstart = 2026-11-20T00:00:00Z\nend = 2026-12-31T00:00:00Z\nreason = "year end"\n'


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    for version in (1, 2, 3):
        fake.promote(version, to="dev")
    return fake


def test_rolling_back_restores_the_version_before(fake: FakeService) -> None:
    fake.roll_back("dev")
    assert (fake.live("dev"), fake.status(3, "dev"), fake.status(2, "dev")) == (2, names.ROLLED_BACK, names.APPROVED)


def test_rolling_back_again_goes_further_back_never_to_what_was_left_as_bad(fake: FakeService) -> None:
    fake.roll_back("dev")
    fake.roll_back("dev")
    assert fake.live("dev") == 1
    with pytest.raises(NotApproved, match="no good version"):
        fake.roll_back("dev")


def test_forward_again_goes_the_same_way(fake: FakeService) -> None:
    fake.roll_back("dev", to=1)
    fake.roll_back("dev", to=3)
    assert (fake.live("dev"), fake.status(3, "dev"), fake.status(1, "dev")) == (3, names.APPROVED, names.SUPERSEDED)


def test_the_approval_of_what_comes_back_is_the_one_it_had(fake: FakeService) -> None:
    approval = fake.view().version(2).approvals["dev"]
    fake.roll_back("dev", by=BEN)
    environment = fake.view().environment("dev")
    assert fake.view().version(2).approvals["dev"] == approval
    assert (environment.approval_id, environment.live_by) == (approval.approval_id, ("Ben Bauer",))


def test_a_version_that_was_never_live_there_can_not_be_rolled_back_to(fake: FakeService) -> None:
    fake.register(4)
    for version in (4, 99):
        with pytest.raises(Refused, match="never live"):
            fake.roll_back("dev", to=version)


def test_a_rollback_to_the_live_version_is_refused(fake: FakeService) -> None:
    with pytest.raises(Refused) as refused:
        fake.roll_back("dev", to=3)
    assert refused.value.code == "already_live"


def test_only_the_environments_approvers_and_operators_roll_back(fake: FakeService) -> None:
    with pytest.raises(Refused, match="not in a group"):
        fake.roll_back("dev", by=CHO)
    with pytest.raises(Refused):
        fake.roll_back("dev", by=GIL)
    fake.roll_back("dev", by=OPERATOR)
    assert fake.live("dev") == 2


def test_a_rollback_is_refused_without_a_reason_before_anything_else(fake: FakeService) -> None:
    with pytest.raises(Invalid) as invalid:
        operations.roll_back(GROUP, "dev", CHO, " ", context=fake.context)
    assert invalid.value.field == "reason"


def test_a_freeze_holds_up_promotion_but_no_rollback(fake: FakeService) -> None:
    fake.register(4)
    fake.config = parse(CONFIG_TEXT + FREEZE)
    with pytest.raises(Refused, match="year end"):
        fake.decide(4, "dev")
    fake.roll_back("dev")
    assert fake.live("dev") == 2


def test_an_older_version_enters_only_by_rolling_back(fake: FakeService) -> None:
    fake = FakeService()
    fake.register(1)
    fake.decide(1, "dev", verdict=names.REJECTED)
    fake.promote(2, to="dev")
    with pytest.raises(AlreadyDecided):
        fake.decide(1, "dev")


def test_revoking_takes_a_version_out_of_every_environment_at_once() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2)
    fake.revoke(2)
    assert [fake.live(name) for name in ("dev", "test", "prod")] == [1, 1, 1]
    assert fake.view().version(2).statuses == dict.fromkeys(("dev", "test", "prod"), names.REVOKED)
    assert len(fake.events()[-1:]) == 1, "in one event"


def test_revoking_the_only_version_leaves_nothing(fake: FakeService) -> None:
    fake = FakeService()
    fake.promote(1)
    fake.revoke(1)
    environment = fake.view().environment("prod")
    assert (environment.live, environment.revoked) == (None, True)


def test_an_environment_may_be_configured_to_fall_back_to_nothing() -> None:
    fake = FakeService(parse(CONFIG_TEXT + '[advanced.environments.prod]\non_revoke = "nothing"\n'))
    fake.promote(1)
    fake.promote(2)
    fake.revoke(2)
    assert [fake.live(name) for name in ("dev", "test", "prod")] == [1, 1, None]


def test_a_fallback_leaves_out_what_was_rolled_back_or_revoked(fake: FakeService) -> None:
    fake.roll_back("dev")
    fake.revoke(1)
    fake.revoke(2)
    assert fake.live("dev") is None, "3 was rolled back because it was bad"


def test_revoking_closes_what_was_asked(fake: FakeService) -> None:
    fake.register(4)
    asked = fake.asked(4, "dev")
    fake.revoke(4)
    assert fake.view().environment("dev").pending is None
    with pytest.raises(AlreadyDecided) as refused:
        fake.decide(4, "dev")
    assert (refused.value.code, asked) == ("revoked", fake.asked(4, "dev"))


def test_a_revoked_version_never_comes_back(fake: FakeService) -> None:
    fake.revoke(2)
    with pytest.raises(Refused):
        fake.roll_back("dev", to=2)
    with pytest.raises(AlreadyDecided):
        fake.revoke(2)
    fake.measure(2, "dev")
    assert fake.view().environment("test").pending != 2


def test_revoking_reaches_an_environment_that_has_left_the_configuration() -> None:
    fake = FakeService()
    fake.promote(1)
    without_test = CONFIG_TEXT.replace('name = "test"', 'name = "staging"')
    fake.config = parse(without_test)
    fake.revoke(1)
    assert fake.live("test") is None


def test_an_unknown_version_is_no_version(fake: FakeService) -> None:
    with pytest.raises(Invalid) as invalid:
        fake.revoke(77)
    assert invalid.value.field == "version"


def test_adopting_attests_what_already_serves() -> None:
    fake = FakeService()
    operations.adopt(a_package(7), "prod", OPERATOR, "It served before.", context=fake.context)
    state = fake.view().version(7)
    assert (fake.live("prod"), state.statuses["prod"]) == (7, names.APPROVED)
    assert state.approvals["prod"].approved_by == (OPERATOR.subject,)
    assert registry_status(state, "dev") == names.APPROVED, "what serves is not taken back to pending"


def test_only_an_empty_environment_adopts(fake: FakeService) -> None:
    with pytest.raises(Refused, match="only an empty environment"):
        operations.adopt(a_package(7), "dev", OPERATOR, "It served before.", context=fake.context)
    with pytest.raises(Refused, match="can't be attested"):
        operations.adopt(a_package(7, problem="no object"), "test", OPERATOR, "It did.", context=fake.context)


@pytest.mark.parametrize(
    ("registered", "said"),
    [
        ({"hashing": True, "containers": (replace(a_package(7).containers[0], sha256=""),)}, "not hashed yet"),
        ({"problem": "no object"}, "no object"),
        ({"containers": a_package(8).containers}, "registered with other bytes"),
    ],
)
def test_a_registered_version_is_adopted_as_the_ledger_has_it(registered: dict[str, Any], said: str) -> None:
    """The live record has the containers of the registration, not those of the command."""
    fake = FakeService()
    fake.register(7, **registered)
    with pytest.raises(Refused, match=said):
        operations.adopt(a_package(7), "prod", OPERATOR, "It served before.", context=fake.context)


def test_a_version_whose_record_is_too_large_for_a_parameter_is_not_adopted() -> None:
    fake = FakeService()
    variables = {f"VARIABLE_{index}": "x" * 1000 for index in range(16)}
    large = a_package(7, containers=(replace(a_package(7).containers[0], environment=variables),))
    with pytest.raises(Refused, match="more than Parameter Store takes"):
        operations.adopt(large, "prod", OPERATOR, "It served before.", context=fake.context)
    assert fake.kinds() == []


def test_a_bypass_is_recorded_once_however_often_it_is_told(fake: FakeService) -> None:
    fake.register(4)
    fake.later(minutes=1)
    for _ in range(3):
        operations.record_bypass(GROUP, 4, names.APPROVED, "arn:someone", context=fake.context, at=fake.now)
    fake.later(minutes=1)
    operations.record_bypass(GROUP, 4, names.APPROVED, "arn:someone", context=fake.context, at=fake.now)
    assert fake.kinds().count(names.APPROVAL_BYPASSED) == 2


def test_the_echo_of_our_own_write_is_no_bypass(fake: FakeService) -> None:
    receipt = operations.record_bypass(GROUP, 3, names.APPROVED, "ours", context=fake.context, at=fake.now)
    assert receipt.note == "the registry says what the ledger says"


def test_an_old_status_seen_late_is_no_bypass(fake: FakeService) -> None:
    """The event of our own approval comes after the revocation, before the registry has it."""
    before = fake.now
    fake.later(minutes=5)
    fake.revoke(3)
    receipt = operations.record_bypass(GROUP, 3, names.APPROVED, "ours", context=fake.context, at=before)
    assert receipt.events == ()
    at = fake.now + timedelta(seconds=1)
    assert operations.record_bypass(GROUP, 3, names.APPROVED, "theirs", context=fake.context, at=at).events


def test_by_policy_a_bypass_is_only_reported(fake: FakeService) -> None:
    fake.config = parse('advanced.bypass = "report"\n' + CONFIG_TEXT)
    fake.register(4)
    [*_, bypassed] = operations.record_bypass(GROUP, 4, names.APPROVED, "x", context=fake.context, at=fake.now).events
    assert bypassed.data.get("reverted", False) is False
    assert fake.view().version(4).bypassed


def test_a_long_reason_is_refused_by_what_it_takes_when_written(fake: FakeService) -> None:
    for reason in ("x" * 2001, '"' * 1001, "{" * 800, "ä" * 1001):
        with pytest.raises(Invalid, match="too long"):
            operations.roll_back(GROUP, "dev", ANN, reason, context=fake.context)
    operations.roll_back(GROUP, "dev", ANN, "x" * 2000, context=fake.context)


def test_adopting_ends_the_open_request_there() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    fake.measure(1, "dev")
    operations.adopt(a_package(1), "test", OPERATOR, "It served before.", context=fake.context)
    environment = fake.view().environment("test")
    assert (environment.live, environment.pending) == (1, None)
    assert fake.status(1, "test") == names.APPROVED
    assert fake.view().version(1).requests["test"].state == names.SUPERSEDED


def test_a_newer_open_request_outlives_an_adoption() -> None:
    fake = FakeService()
    fake.register(2)
    operations.adopt(a_package(1), "dev", OPERATOR, "It served before.", context=fake.context)
    fake.decide(2, "dev")
    assert fake.live("dev") == 2


def test_nothing_is_adopted_where_something_was_live_before() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    fake.revoke(1)
    with pytest.raises(Refused, match="was live in dev before; what enters now is asked for"):
        operations.adopt(a_package(2), "dev", OPERATOR, "It served before.", context=fake.context)


@pytest.mark.parametrize("operation", ["rolled back", "revoked", "asked again"])
def test_an_operation_records_how_its_person_signed_in_and_by_which_group(operation: str) -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    fake.promote(2, to="dev")
    ann = signed_in(ANN, fake.now)
    if operation == "rolled back":
        fake.roll_back("dev", by=ann)
    elif operation == "revoked":
        fake.revoke(2, by=ann)
    else:
        fake.roll_back("dev", by=ann)
        decisions.ask_again(fake.asked(2, "dev"), ann, "It was the cache.", context=fake.context)
    how = fake.events()[-1].actor.authentication
    assert how is not None
    assert (how.issuer, how.subject, how.group) == ("https://login.example.com", "ann", "dev-approvers")
    assert how.issued_at == fake.now


def ask_for(fake: FakeService, version: int, by: Actor = OPERATOR) -> list[Event]:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/{version}"
    return list(operations.ask_for(GROUP, version, arn, by, "The team needs it.", context=fake.context).events)


def test_a_version_that_is_older_than_the_service_is_asked_for_once(fake: FakeService) -> None:
    [asked] = ask_for(fake, 9)
    assert (asked.kind, asked.actor) == (names.REGISTRATION_ASKED, OPERATOR)
    assert ask_for(fake, 9) == [asked], "a registration that was lost can be started again"
    assert fake.kinds().count(names.REGISTRATION_ASKED) == 1


def test_an_operator_asks_again_for_a_version_that_was_rejected(fake: FakeService) -> None:
    fake.register(4)
    with pytest.raises(AlreadyDecided):
        ask_for(fake, 4)
    fake.decide(4, "dev", verdict=names.REJECTED)
    [asked] = ask_for(fake, 4)
    assert (asked.kind, asked.actor) == (names.APPROVAL_REQUESTED, OPERATOR)
    assert fake.view().environment("dev").pending == 4


def test_a_version_that_nobody_was_asked_about_is_registered_again_first(fake: FakeService) -> None:
    decisions.register(a_package(4), a_registration(), context=fake.context, unasked=names.REJECTED)
    with pytest.raises(Refused, match="register it again") as refused:
        ask_for(fake, 4)
    assert refused.value.code == "not_asked"


def test_only_operators_ask_for_a_version(fake: FakeService) -> None:
    with pytest.raises(Refused):
        ask_for(fake, 9, Actor(kind="requester", subject="dee"))
    assert names.REGISTRATION_ASKED not in fake.kinds()
