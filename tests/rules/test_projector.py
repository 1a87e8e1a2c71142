"""Bringing targets along: each from its own cursor, none held up by another, nothing twice that shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.accounts import RoutedParameters
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows import decisions, operations
from promotion.workflows.projector import BATCH, FOLLOWS
from tests.fakes import ANN, GROUP, PREFIX, FailingOnce, FakeService, a_package, as_client
from tests.memory import FakeSageMaker, FakeSsm


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


@pytest.mark.parametrize(
    "damage",
    [
        {"history": [], "last": 1, "pages": 10**15},
        {"history": [], "last": 1, "pages": "1"},
        {"history": [], "last": 1, "pages": -5},
        {"history": [], "last": 1, "archived": "x"},
        {"history": [1], "last": 1, "pages": 0},
        {"history": [{}], "last": 1, "pages": 0},
        {"history": [], "last": "1", "pages": 0},
        {"history": "none", "last": 1, "pages": 0},
        {"last": 1, "pages": 0},
        [],
        "\ud800",
    ],
)
def test_a_hostile_version_parameter_holds_up_nothing(fake: FakeService, damage: object) -> None:
    """Neither the other versions nor the events on the bus, which follow Parameter Store."""
    fake.promote(2, to="dev")
    fake.project()
    parameter = names.version_parameter(PREFIX, GROUP, 1)
    fake.ssm.values[parameter] = json.dumps(damage)
    fake.revoke(1)
    fake.promote(3, to="dev")
    assert fake.project() == []
    assert fake.ssm.values[parameter] == json.dumps(damage)
    assert {entry["DetailType"] for entry in fake.bus.entries} >= {names.MODEL_REVOKED}
    [found] = fake.verify()
    assert parameter in found.difference.line
    assert found.repair is not None
    found.repair()
    assert fake.lines() == []


@pytest.mark.parametrize("value", ["{", "[" * 4000, "[1]", '[{"sequence": []}]', '{"a": 1}', "null"])
def test_a_page_that_somebody_else_wrote_holds_up_nothing(fake: FakeService, value: str) -> None:
    fake.project()
    fake.ssm.values[names.history_parameter(PREFIX, GROUP, 1, 1)] = value
    for number in range(15):
        fake.later(minutes=1)
        fake.measure(1, "dev", run=f"run-{number}")
    assert fake.project() == []
    for found in fake.verify():
        assert found.repair is not None
        found.repair()
    assert fake.lines() == []


class _RefusingSsm(FakeSsm):
    """Parameter Store, which refuses to write some parameters: of another type, or in an account that lets nobody in."""

    refused: frozenset[str] = frozenset()

    def put_parameter(self, *, Name: str, Value: str, Overwrite: bool, **more: Any) -> None:  # noqa: N803
        if Name in self.refused:
            raise ClientError({"Error": {"Code": "HierarchyTypeMismatchException", "Message": ""}}, "PutParameter")
        super().put_parameter(Name=Name, Value=Value, Overwrite=Overwrite, **more)


@pytest.mark.parametrize(
    "refused", [names.live_parameter(PREFIX, GROUP, "dev"), names.version_parameter(PREFIX, GROUP, 1)]
)
def test_a_parameter_that_cannot_be_written_holds_no_other_up(refused: str) -> None:
    """The live parameter of `dev`, and a version's, may be in trouble while `prod` has to learn of a revocation."""
    fake = FakeService()
    fake.ssm = ssm = _RefusingSsm()
    fake.promote(1)
    fake.promote(2)
    fake.project()
    before = dict(ssm.values)
    ssm.refused = frozenset({refused})
    fake.roll_back("dev", to=1)
    fake.revoke(2)
    [failure] = fake.project()
    assert "HierarchyTypeMismatchException" in failure.error
    assert failure.target == names.PARAMETERS
    touched = {name for name in ssm.values if ssm.values[name] != before.get(name)}
    lives = {names.live_parameter(PREFIX, GROUP, name) for name in fake.config.environment_names}
    histories = {names.version_parameter(PREFIX, GROUP, number) for number in (1, 2)}
    assert touched == (lives | histories) - {refused}
    ssm.refused = frozenset()
    assert fake.project() == []
    assert fake.lines() == []


def test_an_account_that_lets_nobody_in_holds_no_history_up() -> None:
    """Histories are in the registry's account, and only live records in the environments' own."""
    fake = FakeService()
    fake.promote(1)
    for number in range(60):
        fake.later(minutes=1)
        fake.measure(1, "dev", run=f"run-{number}")

    def refuse(environment: str) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": environment}}, "AssumeRole")

    routed = RoutedParameters(as_client(fake.ssm), ["prod"], refuse)
    target = ParameterTarget(routed, fake.signer, PREFIX, ledger=fake.ledger, bucket=fake.evidence, keep_versions=1)
    [failure] = fake.project(targets={**fake.targets, names.PARAMETERS: target})
    assert "AssumeRole" in failure.error
    document = json.loads(fake.ssm.values[names.version_parameter(PREFIX, GROUP, 1)])
    assert document["last"] == fake.view().head.sequence
    assert fake.project() == []
    assert fake.lines() == []


def test_a_package_deleted_from_the_registry_does_not_hold_its_group_up(fake: FakeService) -> None:
    fake.project()
    fake.promote(2, to="dev")
    del fake.sagemaker.packages[fake.view().version(1).package.arn]
    assert fake.project() == []


class _Refusing(FakeSageMaker):
    """SageMaker, which takes at most 50 properties, and no change at all of the package `refused`."""

    refused = ""

    def update_model_package(self, *, ModelPackageArn: str, **changes: Any) -> None:  # noqa: N803
        known = self.packages[ModelPackageArn]["CustomerMetadataProperties"]
        if ModelPackageArn == self.refused or len({*known, *changes.get("CustomerMetadataProperties", ())}) > 50:
            raise ClientError({"Error": {"Code": "ValidationException", "Message": "no"}}, "UpdateModelPackage")
        super().update_model_package(ModelPackageArn=ModelPackageArn, **changes)


def test_metadata_filled_up_since_the_registration_holds_up_nothing() -> None:
    fake = FakeService()
    fake.sagemaker = _Refusing()
    fake.promote(1, to="dev")
    full = {f"key-{number}": "x" for number in range(49)}
    fake.sagemaker.packages[a_package(1).arn]["CustomerMetadataProperties"] = full
    fake.promote(2, to="dev")
    assert fake.project() == []
    written = fake.sagemaker.packages
    assert written[a_package(1).arn]["ModelApprovalStatus"] == names.APPROVED
    assert written[a_package(2).arn]["CustomerMetadataProperties"]["dev"] == names.APPROVED
    assert any("CustomerMetadataProperties.dev" in line for line in fake.lines())


def test_a_package_that_the_registry_refuses_to_change_holds_up_no_other() -> None:
    fake = FakeService()
    fake.sagemaker = refusing = _Refusing()
    fake.promote(1, to="dev")
    fake.promote(2, to="dev")
    refusing.refused = a_package(1).arn
    [failure] = fake.project()
    assert failure.target == names.REGISTRY
    assert fake.sagemaker.packages[a_package(2).arn]["ModelApprovalStatus"] == names.APPROVED


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
