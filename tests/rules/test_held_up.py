"""What somebody else wrote, or lets nobody write, holds up its own place of a projection, and no other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from promotion import names
from promotion.aws.accounts import RoutedParameters
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.workflows import decisions
from tests.fakes import GROUP, PREFIX, FakeService, a_package, as_client
from tests.memory import FakeSageMaker, FakeSsm
from tests.rules.scenario import BEGINNING, Scenario, measured


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1)
    return fake


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


def _asked_for_test() -> Scenario:
    scenario = Scenario()
    scenario.registers(1, created_at=BEGINNING)
    scenario.decides("dev", 1)
    scenario.runs("dev", 1, measured(0.9, run_id="first"))
    return scenario


def test_a_late_mail_about_a_request_of_a_package_that_was_made_anew_holds_no_mail_up() -> None:
    scenario = _asked_for_test()
    scenario.later(days=30)
    scenario.keeps_time("test")
    scenario.registers(1, created_at=scenario.now)
    assert scenario.mails(names.REQUEST_EXPIRED) == []
    assert scenario.mails()


def test_a_late_mail_about_a_request_for_an_environment_that_is_gone_holds_no_mail_up() -> None:
    scenario = _asked_for_test()
    scenario.runs("dev", 1, measured(0.01, run_id="second"))
    assert scenario.mails(names.INFERENCE_COMPLETED)
    left = tuple(each for each in scenario.config.environments if each.name != "test")
    scenario.config = replace(scenario.config, environments=left)
    assert scenario.mails(names.INFERENCE_COMPLETED) == []


def test_a_late_mail_about_hashing_for_an_environment_that_is_gone_holds_no_mail_up() -> None:
    scenario = Scenario()
    scenario.registers(1, hashing=True)
    decisions.record_artifact(scenario.group, 1, (), "It can't be read.", context=scenario.context)
    assert scenario.mails(names.ARTIFACT_HASHED)
    scenario.config = replace(scenario.config, environments=scenario.config.environments[1:])
    assert scenario.mails(names.ARTIFACT_HASHED) == []
