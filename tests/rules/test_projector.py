"""Bringing targets along: each from its own cursor, none held up by another, nothing twice that shows."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from promotion import names
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows import decisions, operations
from promotion.workflows.projector import BATCH, FOLLOWS
from tests.fakes import ANN, GROUP, PREFIX, FailingOnce, FakeService


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1)
    return fake


class Down:
    one_by_one = False

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        raise RuntimeError("it is down")


def test_every_target_comes_to_the_head(fake: FakeService) -> None:
    assert fake.project() == []
    assert set(fake.cursors.read(GROUP).values()) == {fake.view().head.sequence}
    assert fake.lines() == []


def test_projecting_again_changes_nothing(fake: FakeService) -> None:
    fake.project()
    values, sent = dict(fake.ssm.values), list(fake.mail.sent)
    fake.project()
    fake.cursors.at.clear()
    fake.project(targets={name: target for name, target in fake.targets.items() if name != names.MAIL})
    assert (fake.ssm.values, fake.mail.sent) == (values, sent)


@pytest.mark.parametrize("broken", names.TARGETS)
def test_one_target_that_is_down_does_not_hold_the_others_up(fake: FakeService, broken: names.TargetName) -> None:
    [failure] = fake.project(targets={**fake.targets, broken: Down()})
    assert (failure.group, failure.target, failure.error) == (GROUP, broken, "RuntimeError: it is down")
    cursors = fake.cursors.read(GROUP)
    waiting = {name for name, leader in FOLLOWS.items() if leader == broken}
    assert {name for name in names.TARGETS if cursors.get(name)} == set(names.TARGETS) - {broken} - waiting
    fake.project()
    assert fake.lines() == []


def test_nobody_hears_of_a_promotion_that_parameter_store_does_not_show_yet(fake: FakeService) -> None:
    fake.project(targets={**fake.targets, names.PARAMETERS: Down()})
    assert fake.bus.entries == []
    fake.project()
    assert names.MODEL_PROMOTED in [entry["DetailType"] for entry in fake.bus.entries]


def test_an_event_appended_meanwhile_waits_for_the_next_pass(fake: FakeService) -> None:
    """Else it would reach the bus before Parameter Store, whose turn in this pass is over."""

    class AppendsMeanwhile:
        one_by_one = False

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            fake.promote(2)

    end = fake.view().head.sequence
    fake.project(targets={**fake.targets, names.REGISTRY: AppendsMeanwhile()})
    assert fake.view().head.sequence > end
    assert set(fake.cursors.read(GROUP).values()) == {end}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("target", [names.REGISTRY, names.PARAMETERS])
def test_dying_before_the_cursor_is_written_does_it_again_without_a_difference(
    fake: FakeService, target: names.TargetName, after: bool
) -> None:
    failing = FailingOnce(fake.targets[target], TimeoutError(), after=after)
    assert [failure.target for failure in fake.project(targets={**fake.targets, target: failing})] == [target]
    fake.project()
    assert fake.lines() == []


def test_a_mail_that_could_not_be_sent_does_not_send_those_before_it_again(fake: FakeService) -> None:
    class FullAfterThree:
        one_by_one = True

        def __init__(self) -> None:
            self.sent: list[int] = []

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            if len(self.sent) == 3:
                raise RuntimeError("throttled")
            self.sent += [event.sequence for event in events]

    mail = FullAfterThree()
    fake.project(targets={names.MAIL: mail})
    assert fake.cursors.read(GROUP)[names.MAIL] == 3
    fake.project()
    assert len(fake.mail.sent) == len(set(fake.mail.sent)) == fake.view().head.sequence - 3


def test_a_long_history_goes_in_steps(fake: FakeService) -> None:
    for version in range(2, 40):
        fake.promote(version, to="dev")
    assert fake.view().head.sequence > BATCH
    sizes: list[int] = []

    class Counting:
        one_by_one = False

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            sizes.append(len(events))

    fake.project(targets={names.EVENTS: Counting()})
    assert sizes == [BATCH, fake.view().head.sequence - BATCH]


def test_a_ledger_that_lost_its_tail_is_not_taken_for_news(fake: FakeService) -> None:
    fake.project()
    for target in names.TARGETS:
        fake.cursors.put(GROUP, target, 99)
    failures = fake.project()
    assert len(failures) == len(names.TARGETS)
    assert "its tail was cut, or an older copy restored" in failures[0].error


def test_the_status_of_a_replaced_version_is_written_too(fake: FakeService) -> None:
    fake.promote(2)
    fake.project()
    before = json.loads(fake.ssm.values[f"{PREFIX}/{GROUP}/versions/1"])
    assert before["statuses"] == dict.fromkeys(("dev", "test", "prod"), names.SUPERSEDED)


def test_a_revocation_reaches_the_registry_first(fake: FakeService) -> None:
    fake.project()
    fake.revoke(1)
    order: list[str] = []

    class Noting:
        one_by_one = False

        def __init__(self, name: str) -> None:
            self.name = name

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            order.append(self.name)

    fake.project(targets={name: Noting(name) for name in fake.targets})
    assert order == list(names.TARGETS)


def test_a_version_just_rejected_outside_is_not_set_to_approved(fake: FakeService) -> None:
    fake.project()
    arn = fake.view().version(1).package.arn
    fake.sagemaker.packages[arn]["ModelApprovalStatus"] = names.REJECTED
    fake.measure(1, "prod")
    fake.roll_back("dev", to=None) if fake.view().environment("dev").former else fake.measure(1, "dev")
    fake.promote(2, to="test")
    fake.project()
    assert fake.sagemaker.packages[arn]["ModelApprovalStatus"] == names.REJECTED
    assert all(
        "ModelApprovalStatus" not in update for update in fake.sagemaker.updates[1:] if update["ModelPackageArn"] == arn
    )


def test_only_what_changed_is_sent(fake: FakeService) -> None:
    fake.project()
    fake.sagemaker.updates.clear()
    fake.promote(2, to="dev")
    fake.project()
    arn = fake.view().version(1).package.arn
    [update] = [update for update in fake.sagemaker.updates if update["ModelPackageArn"] == arn]
    assert update == {"ModelPackageArn": arn, "CustomerMetadataProperties": {"dev": names.SUPERSEDED}}


@pytest.mark.parametrize(
    "value", ['{"signature": "x", "a": "\\ud800"}', "[" * 4000, '{"signature": "x", "signature": "y"}', "{"]
)
def test_a_hostile_live_parameter_does_not_stop_a_revocation(fake: FakeService, value: str) -> None:
    parameter = names.live_parameter(PREFIX, GROUP, "dev")
    fake.ssm.values[parameter] = value
    fake.revoke(1)
    assert fake.project() == []
    assert json.loads(fake.ssm.values[parameter])["revoked"] is True


def test_a_package_deleted_from_the_registry_does_not_hold_its_group_up(fake: FakeService) -> None:
    fake.project()
    fake.promote(2, to="dev")
    del fake.sagemaker.packages[fake.view().version(1).package.arn]
    assert fake.project() == []


def test_an_environment_that_left_the_configuration_is_still_written() -> None:
    from promotion.config.loading import parse
    from tests.fakes import CONFIG_TEXT

    fake = FakeService()
    fake.promote(1)
    fake.project()
    fake.config = parse(CONFIG_TEXT.replace('name = "test"', 'name = "staging"'))
    fake.revoke(1)
    fake.project()
    assert json.loads(fake.ssm.values[f"{PREFIX}/{GROUP}/test/live"])["revoked"] is True


def test_events_go_out_with_what_listeners_need(fake: FakeService) -> None:
    fake.project()
    kinds = [entry["DetailType"] for entry in fake.bus.entries]
    assert kinds == [kind for kind in fake.kinds() if kind in names.PUBLISHED]
    detail = json.loads(fake.bus.entries[2]["Detail"])
    assert (detail["environment"], detail["model_package_version"], detail["sequence"]) == ("dev", 1, 5)


@pytest.mark.parametrize("environment", ["dev", "test"])
def test_a_repeated_request_is_pending_in_the_registry_again(environment: str) -> None:
    fake = FakeService()
    fake.register(1)
    if environment == "test":
        fake.promote(1, to="dev")
        fake.measure(1, "dev")
    fake.decide(1, environment, verdict=names.REJECTED)
    fake.project()
    arn = fake.view().version(1).package.arn
    refused = {"dev": names.REJECTED, "test": names.APPROVED}[environment]
    assert fake.sagemaker.packages[arn]["ModelApprovalStatus"] == refused
    fake.later(hours=1)
    decisions.ask_again(fake.asked(1, environment), ANN, "Its references were wrong.", context=fake.context)
    fake.project()
    asked = {"dev": names.PENDING, "test": names.APPROVED}[environment]
    assert fake.sagemaker.packages[arn]["ModelApprovalStatus"] == asked
    assert fake.lines() == []


def test_the_late_echo_of_a_rejection_that_was_asked_again_is_no_bypass() -> None:
    fake = FakeService()
    fake.register(1)
    fake.decide(1, "dev", verdict=names.REJECTED)
    fake.project()
    written = fake.now
    fake.later(hours=1)
    decisions.ask_again(fake.asked(1, "dev"), ANN, "Its references were wrong.", context=fake.context)
    receipt = operations.record_bypass(GROUP, 1, names.REJECTED, "us", context=fake.context, at=written)
    assert receipt.events == ()
    fake.later(hours=1)
    receipt = operations.record_bypass(GROUP, 1, names.REJECTED, "eve", context=fake.context, at=fake.now)
    assert [event.kind for event in receipt.events] == [names.APPROVAL_BYPASSED]
