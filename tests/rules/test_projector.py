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
from tests.fakes import ANN, GROUP, PREFIX, FailingOnce, House


@pytest.fixture
def house() -> House:
    house = House()
    house.climb(1)
    return house


class Down:
    one_by_one = False

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        raise RuntimeError("it is down")


def test_every_target_comes_to_the_head(house: House) -> None:
    assert house.project() == []
    assert set(house.cursors.read(GROUP).values()) == {house.view().head.sequence}
    assert house.lines() == []


def test_projecting_again_changes_nothing(house: House) -> None:
    house.project()
    values, sent = dict(house.ssm.values), list(house.mail.sent)
    house.project()
    house.cursors.at.clear()
    house.project(targets={name: target for name, target in house.targets.items() if name != names.MAIL})
    assert (house.ssm.values, house.mail.sent) == (values, sent)


@pytest.mark.parametrize("broken", names.TARGETS)
def test_one_target_that_is_down_does_not_hold_the_others_up(house: House, broken: names.TargetName) -> None:
    [failure] = house.project(targets={**house.targets, broken: Down()})
    assert (failure.group, failure.target, failure.error) == (GROUP, broken, "RuntimeError: it is down")
    cursors = house.cursors.read(GROUP)
    waiting = {name for name, leader in FOLLOWS.items() if leader == broken}
    assert {name for name in names.TARGETS if cursors.get(name)} == set(names.TARGETS) - {broken} - waiting
    house.project()
    assert house.lines() == []


def test_nobody_hears_of_a_promotion_that_parameter_store_does_not_show_yet(house: House) -> None:
    house.project(targets={**house.targets, names.PARAMETERS: Down()})
    assert house.bus.entries == []
    house.project()
    assert names.MODEL_PROMOTED in [entry["DetailType"] for entry in house.bus.entries]


def test_an_event_appended_meanwhile_waits_for_the_next_pass(house: House) -> None:
    """Else it would reach the bus before Parameter Store, whose turn in this pass is over."""

    class AppendsMeanwhile:
        one_by_one = False

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            house.climb(2)

    end = house.view().head.sequence
    house.project(targets={**house.targets, names.REGISTRY: AppendsMeanwhile()})
    assert house.view().head.sequence > end
    assert set(house.cursors.read(GROUP).values()) == {end}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("target", [names.REGISTRY, names.PARAMETERS])
def test_dying_before_the_cursor_is_written_does_it_again_without_a_difference(
    house: House, target: names.TargetName, after: bool
) -> None:
    failing = FailingOnce(house.targets[target], TimeoutError(), after=after)
    assert [failure.target for failure in house.project(targets={**house.targets, target: failing})] == [target]
    house.project()
    assert house.lines() == []


def test_a_mail_that_could_not_be_sent_does_not_send_those_before_it_again(house: House) -> None:
    class FullAfterThree:
        one_by_one = True

        def __init__(self) -> None:
            self.sent: list[int] = []

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            if len(self.sent) == 3:
                raise RuntimeError("throttled")
            self.sent += [event.sequence for event in events]

    mail = FullAfterThree()
    house.project(targets={names.MAIL: mail})
    assert house.cursors.read(GROUP)[names.MAIL] == 3
    house.project()
    assert len(house.mail.sent) == len(set(house.mail.sent)) == house.view().head.sequence - 3


def test_a_long_history_goes_in_steps(house: House) -> None:
    for version in range(2, 40):
        house.climb(version, to="dev")
    assert house.view().head.sequence > BATCH
    sizes: list[int] = []

    class Counting:
        one_by_one = False

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            sizes.append(len(events))

    house.project(targets={names.EVENTS: Counting()})
    assert sizes == [BATCH, house.view().head.sequence - BATCH]


def test_a_ledger_that_lost_its_tail_is_not_taken_for_news(house: House) -> None:
    house.project()
    for target in names.TARGETS:
        house.cursors.put(GROUP, target, 99)
    failures = house.project()
    assert len(failures) == len(names.TARGETS)
    assert "its tail was cut, or an older copy restored" in failures[0].error


def test_the_status_of_a_replaced_version_is_written_too(house: House) -> None:
    house.climb(2)
    house.project()
    before = json.loads(house.ssm.values[f"{PREFIX}/{GROUP}/versions/1"])
    assert before["statuses"] == dict.fromkeys(("dev", "test", "prod"), names.SUPERSEDED)


def test_a_revocation_reaches_the_registry_first(house: House) -> None:
    house.project()
    house.revoke(1)
    order: list[str] = []

    class Noting:
        one_by_one = False

        def __init__(self, name: str) -> None:
            self.name = name

        def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
            order.append(self.name)

    house.project(targets={name: Noting(name) for name in house.targets})
    assert order == list(names.TARGETS)


def test_a_version_just_rejected_outside_is_not_set_to_approved(house: House) -> None:
    house.project()
    arn = house.view().version(1).package.arn
    house.sagemaker.packages[arn]["ModelApprovalStatus"] = names.REJECTED
    house.measure(1, "prod")
    house.roll_back("dev", to=None) if house.view().environment("dev").former else house.measure(1, "dev")
    house.climb(2, to="test")
    house.project()
    assert house.sagemaker.packages[arn]["ModelApprovalStatus"] == names.REJECTED
    assert all(
        "ModelApprovalStatus" not in update
        for update in house.sagemaker.updates[1:]
        if update["ModelPackageArn"] == arn
    )


def test_only_what_changed_is_sent(house: House) -> None:
    house.project()
    house.sagemaker.updates.clear()
    house.climb(2, to="dev")
    house.project()
    arn = house.view().version(1).package.arn
    [update] = [update for update in house.sagemaker.updates if update["ModelPackageArn"] == arn]
    assert update == {"ModelPackageArn": arn, "CustomerMetadataProperties": {"dev": names.SUPERSEDED}}


def test_a_package_deleted_from_the_registry_does_not_hold_its_group_up(house: House) -> None:
    house.project()
    house.climb(2, to="dev")
    del house.sagemaker.packages[house.view().version(1).package.arn]
    assert house.project() == []


def test_an_environment_that_left_the_configuration_is_still_written() -> None:
    from promotion.config.loading import parse
    from tests.fakes import CONFIG_TEXT

    house = House()
    house.climb(1)
    house.project()
    house.config = parse(CONFIG_TEXT.replace('name = "test"', 'name = "staging"'))
    house.revoke(1)
    house.project()
    assert json.loads(house.ssm.values[f"{PREFIX}/{GROUP}/test/live"])["revoked"] is True


def test_events_go_out_with_what_listeners_need(house: House) -> None:
    house.project()
    kinds = [entry["DetailType"] for entry in house.bus.entries]
    assert kinds == [kind for kind in house.kinds() if kind in names.PUBLISHED]
    detail = json.loads(house.bus.entries[2]["Detail"])
    assert (detail["environment"], detail["model_package_version"], detail["sequence"]) == ("dev", 1, 5)


@pytest.mark.parametrize("environment", ["dev", "test"])
def test_a_repeated_request_is_pending_in_the_registry_again(environment: str) -> None:
    house = House()
    house.register(1)
    if environment == "test":
        house.climb(1, to="dev")
        house.measure(1, "dev")
    house.decide(1, environment, verdict=names.REJECTED)
    house.project()
    arn = house.view().version(1).package.arn
    refused = {"dev": names.REJECTED, "test": names.APPROVED}[environment]
    assert house.sagemaker.packages[arn]["ModelApprovalStatus"] == refused
    house.later(hours=1)
    decisions.ask_again(house.asked(1, environment), ANN, "Its references were wrong.", world=house.world)
    house.project()
    asked = {"dev": names.PENDING, "test": names.APPROVED}[environment]
    assert house.sagemaker.packages[arn]["ModelApprovalStatus"] == asked
    assert house.lines() == []


def test_the_late_echo_of_a_rejection_that_was_asked_again_is_no_bypass() -> None:
    house = House()
    house.register(1)
    house.decide(1, "dev", verdict=names.REJECTED)
    house.project()
    written = house.now
    house.later(hours=1)
    decisions.ask_again(house.asked(1, "dev"), ANN, "Its references were wrong.", world=house.world)
    receipt = operations.record_bypass(GROUP, 1, names.REJECTED, "us", world=house.world, at=written)
    assert receipt.events == ()
    house.later(hours=1)
    receipt = operations.record_bypass(GROUP, 1, names.REJECTED, "eve", world=house.world, at=house.now)
    assert [event.kind for event in receipt.events] == [names.APPROVAL_BYPASSED]
