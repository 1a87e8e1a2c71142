"""The Model Registry: what is sent, to the letter, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import example, given
from hypothesis import strategies as st

from promotion import names
from promotion.aws.sagemaker.registry import RegistryTarget, describe, is_gone, source_identity
from promotion.domain.model import Package
from promotion.domain.people import Actor
from promotion.errors import Invalid
from tests.adapters.conftest import Aws
from tests.fakes import ANN, GROUP, FakeService, as_client

ORDER = ("dev", "test", "prod")


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


@pytest.fixture
def stub() -> Iterator[Stubber]:
    with Stubber(boto3.client("sagemaker")) as stub:
        yield stub
        stub.assert_no_pending_responses()


def expect(stub: Stubber, fake: FakeService, version: int, found: dict[str, Any], sent: dict[str, Any]) -> None:
    """One description, and the one update that must follow; none where nothing differs."""
    arn = fake.view().version(version).package.arn
    described = {
        "ModelPackageName": "n", "ModelPackageArn": arn, "CreationTime": fake.now, "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": []}, **found,
    }  # fmt: skip
    stub.add_response("describe_model_package", described, {"ModelPackageName": arn})
    if sent:
        # The approval status first and by itself, so that nothing else that SageMaker refuses holds it up.
        status = {name: value for name, value in sent.items() if name in ("ModelApprovalStatus", "ApprovalDescription")}
        for part in (status, {name: value for name, value in sent.items() if name not in status}):
            if part:
                stub.add_response("update_model_package", {"ModelPackageArn": arn}, {"ModelPackageArn": arn, **part})


def project(stub: Stubber, fake: FakeService, after: int) -> list[str]:
    """Project what came after an event; returns the source identities that were asked for."""
    asked: list[str] = []

    def client_for(identity: str) -> Any:
        asked.append(identity)
        return stub.client

    events = list(fake.ledger.events(GROUP, after=after))
    RegistryTarget(client_for, ORDER).project(fake.view(), events)
    return asked


def test_a_registration_puts_every_environment_at_pending(stub: Stubber, fake: FakeService) -> None:
    fake.register(1)
    fields = dict.fromkeys(ORDER, names.PENDING)
    expect(stub, fake, 1, {"ModelApprovalStatus": names.PENDING}, {"CustomerMetadataProperties": fields})
    project(stub, fake, 0)


def test_a_promotion_sends_status_field_and_life_cycle_and_nothing_else(stub: Stubber, fake: FakeService) -> None:
    fake.register(1)
    before = fake.view().head.sequence
    fake.decide(1, "dev")
    found = {
        "ModelApprovalStatus": names.PENDING,
        "CustomerMetadataProperties": {**dict.fromkeys(ORDER, names.PENDING), "team": "news"},
    }
    expect(
        stub, fake, 1, found,
        {
            "ModelApprovalStatus": names.APPROVED,
            "ApprovalDescription": "Decided for dev by ann.",
            "CustomerMetadataProperties": {"dev": names.APPROVED},
            "ModelLifeCycle": {"Stage": "dev", "StageStatus": names.APPROVED},
        },
    )  # fmt: skip
    assert project(stub, fake, before) == ["ann"], "CloudTrail has who decided"


def test_a_promotion_further_up_never_sends_the_status_along(stub: Stubber, fake: FakeService) -> None:
    """Somebody may have just rejected it in Studio."""
    fake.promote(1, to="dev")
    fake.measure(1, "dev")
    before = fake.view().head.sequence
    fake.decide(1, "test")
    found = {
        "ModelApprovalStatus": names.REJECTED,
        "CustomerMetadataProperties": {"dev": names.APPROVED, "test": names.PENDING, "prod": names.PENDING},
        "ModelLifeCycle": {"Stage": "dev", "StageStatus": names.APPROVED},
    }
    sent = {
        "CustomerMetadataProperties": {"test": names.APPROVED},
        "ModelLifeCycle": {"Stage": "test", "StageStatus": names.APPROVED},
    }
    expect(stub, fake, 1, found, sent)
    project(stub, fake, before)


def test_unchanged_registry_fields_are_not_updated(stub: Stubber, fake: FakeService) -> None:
    fake.promote(1, to="dev")
    found = {
        "ModelApprovalStatus": names.APPROVED,
        "CustomerMetadataProperties": {"dev": names.APPROVED, "test": names.PENDING, "prod": names.PENDING},
        "ModelLifeCycle": {"Stage": "dev", "StageStatus": names.APPROVED},
    }
    expect(stub, fake, 1, found, {})
    project(stub, fake, 0)


def test_a_revocation_goes_before_everything_else_under_the_revokers_name(stub: Stubber, fake: FakeService) -> None:
    fake.promote(1)
    fake.promote(2)
    before = fake.view().head.sequence
    fake.register(3)
    fake.revoke(2)
    everywhere = {"CustomerMetadataProperties": dict.fromkeys(ORDER, names.APPROVED)}
    revoked = {
        "ModelApprovalStatus": names.REJECTED,
        "ApprovalDescription": "Revoked by the promotion service.",
        "CustomerMetadataProperties": dict.fromkeys(ORDER, names.REVOKED),
        "ModelLifeCycle": {"Stage": "prod", "StageStatus": names.REVOKED},
    }
    cycle = {"ModelLifeCycle": {"Stage": "prod", "StageStatus": names.APPROVED}}
    expect(stub, fake, 2, {"ModelApprovalStatus": names.APPROVED, **everywhere, **cycle}, revoked)
    superseded = {"CustomerMetadataProperties": dict.fromkeys(ORDER, names.SUPERSEDED)}
    expect(stub, fake, 1, {"ModelApprovalStatus": names.APPROVED, **superseded, **cycle}, everywhere)
    expect(stub, fake, 3, {"ModelApprovalStatus": names.PENDING}, {
        "CustomerMetadataProperties": dict.fromkeys(ORDER, names.PENDING)
    })  # fmt: skip
    assert project(stub, fake, before)[0] == "ann"


def test_throttling_is_passed_on(stub: Stubber, fake: FakeService) -> None:
    fake.register(1)
    stub.add_client_error("describe_model_package", "ThrottlingException", "Rate exceeded")
    with pytest.raises(ClientError, match="Rate exceeded"):
        project(stub, fake, 0)


def test_a_deleted_package_is_gone_and_no_error(aws: Aws, fake: FakeService) -> None:
    fake.register(1)
    arn = fake.view().version(1).package.arn
    with pytest.raises(ClientError) as missing:
        aws.sagemaker.describe_model_package(ModelPackageName=arn)
    assert is_gone(missing.value)
    target = RegistryTarget(lambda identity: aws.sagemaker, ORDER)
    target.project(fake.view(), fake.events())
    assert target.found(fake.view().version(1)) is None


def test_against_a_registry_that_merges_as_awss_does(aws: Aws, fake: FakeService) -> None:
    specification = {
        "Containers": [{"Image": "i", "ModelDataUrl": "s3://b/k"}],
        "SupportedContentTypes": ["application/jsonlines"],
        "SupportedResponseMIMETypes": ["application/jsonlines"],
    }
    arn = aws.sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        InferenceSpecification=specification,
        CustomerMetadataProperties={"team": "news", "requested_by": "dee"},
    )["ModelPackageArn"]
    package, _ = describe(aws.sagemaker, arn, {"fake-user-profile-name": "dee@example.com"})
    assert (package.group, package.version, package.containers[0].model_data_url) == (GROUP, 1, "s3://b/k")
    assert package.requester is not None
    assert package.requester.actor.subject == "dee@example.com"
    fake.register(1, arn=arn, containers=package.containers)
    fake.decide(1, "dev")
    target = RegistryTarget(lambda identity: aws.sagemaker, ORDER)
    target.project(fake.view(), fake.events())
    found = aws.sagemaker.describe_model_package(ModelPackageName=arn)
    assert found["CustomerMetadataProperties"] == {
        "team": "news", "requested_by": "dee", "dev": "Approved", "test": names.PENDING, "prod": names.PENDING,
    }  # fmt: skip
    assert target.found(fake.view().version(1)) == target.expected(fake.view().version(1))
    assert found["ModelApprovalStatus"] == names.APPROVED


def test_a_package_outside_a_group_is_refused_by_field(stub: Stubber) -> None:
    described = {
        "ModelPackageName": "n", "ModelPackageArn": "arn:aws:sagemaker:us-east-1:1:model-package/n",
        "CreationTime": 0, "ModelPackageStatus": "Completed", "ModelPackageStatusDetails": {"ValidationStatuses": []},
    }  # fmt: skip
    stub.add_response("describe_model_package", described)
    with pytest.raises(Invalid) as invalid:
        describe(as_client(stub.client), "n", {})
    assert invalid.value.field == "ModelPackageGroupName"


@given(st.text(max_size=300))
@example("a")
@example("00u1;ab|c@example.com")
@example("张伟")
def test_any_subject_becomes_a_source_identity_that_sts_takes(subject: str) -> None:
    for kind in ("person", "operator", "requester"):
        found = source_identity(Actor(kind=kind, subject=subject))
        assert 2 <= len(found) <= 64
        assert all(character.isalnum() or character in "_+=,.@-" for character in found)


def test_the_service_acts_in_its_own_name_where_nobody_decided() -> None:
    assert source_identity(Actor(kind="system", subject="x")) == "system"
    assert source_identity(ANN.as_actor()) == "ann"
    operator = Actor(kind="operator", subject="arn:aws:sts::123456789012:assumed-role/operations/jane@example.com")
    assert source_identity(operator) == "jane@example.com"


def described(requesters: dict[str, str] | None = None, **about: Any) -> Package:
    """A package as SageMaker describes it."""
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model-package/news/1"

    class Registry:
        def describe_model_package(self, **_: Any) -> dict[str, Any]:
            return {"ModelPackageArn": arn, "ModelPackageGroupName": "news", "ModelPackageVersion": 1, **about}

    return describe(as_client(Registry()), arn, requesters or {}, ORDER)[0]


def test_metadata_without_room_for_our_fields_is_seen_at_registration() -> None:
    metadata = [{f"key-{number}": "x" for number in range(count)} for count in (46, 47, 48, 50)]
    full = [described(CustomerMetadataProperties=each).no_room for each in metadata]
    assert full == [False, False, True, True]


def test_without_room_status_and_life_cycle_follow_and_no_field_is_sent() -> None:
    fake = FakeService()
    fake.register(1, no_room=True)
    fake.decide(1, "dev")
    assert fake.project() == []
    sent = {key for update in fake.sagemaker.updates for key in update}
    assert sent >= {"ModelApprovalStatus", "ModelLifeCycle"}
    assert "CustomerMetadataProperties" not in sent
    assert fake.lines() == []


SESSION = "arn:aws:sts::123456789012:assumed-role/training/dee@example.com"
USER = "arn:aws:iam::123456789012:user/dee"
ROLE = "arn:aws:sts::123456789012:assumed-role/training/SageMaker"
REQUESTERS: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, str], tuple[str, str, tuple[str, ...]] | None]] = {
    "nobody": ({}, {}, {}, None),
    "a role that many share": ({"IamIdentity": {"Arn": ROLE}}, {}, {}, None),
    "a role that the configuration names": (
        {"IamIdentity": {"Arn": ROLE}}, {}, {ROLE: "dee@example.com"}, ("dee@example.com", "identity", ()),
    ),
    "a session of a person, who says who they are": (
        {"IamIdentity": {"Arn": SESSION}}, {"requested_by": "dee"}, {}, ("dee", "self", (SESSION,)),
    ),
    "a profile used by an IAM user": (
        {"UserProfileName": "team", "IamIdentity": {"Arn": USER}}, {}, {}, ("team", "identity", (USER,)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("by", "metadata", "known", "expected"), REQUESTERS.values(), ids=REQUESTERS.keys())
def test_the_requester_has_all_names_that_the_registry_has(
    by: dict[str, Any],
    metadata: dict[str, str],
    known: dict[str, str],
    expected: tuple[str, str, tuple[str, ...]] | None,
) -> None:
    found = described(CreatedBy=by, CustomerMetadataProperties=metadata, requesters=known).requester
    told = None if found is None else (found.actor.subject, found.declared_by, found.also)
    assert told == expected


@pytest.mark.parametrize("specification", [{}, None, {"Containers": []}])
def test_a_package_without_a_container_is_recorded_with_its_problem(specification: dict[str, Any] | None) -> None:
    found = described(InferenceSpecification=specification)
    assert found.containers == ()
    assert found.problem.startswith("InferenceSpecification.Containers: the package has no container")


def test_a_package_made_anew_is_none_of_the_ledgers(stub: Stubber, fake: FakeService) -> None:
    fake.register(1, created_at=fake.now)
    state = fake.view().version(1)
    target = RegistryTarget(lambda identity: as_client(stub.client), ORDER)
    expect(stub, fake, 1, {"ModelApprovalStatus": names.PENDING}, {})
    assert (target.found(state) or {})["ModelApprovalStatus"] == names.PENDING
    expect(stub, fake, 1, {"CreationTime": fake.now + timedelta(hours=1)}, {})
    assert target.found(state) is None
