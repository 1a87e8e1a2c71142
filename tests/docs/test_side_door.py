"""The example policies of docs/side-door.md allow and deny what the page says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.aws import policies

FOLDER = Path(__file__).parents[2] / "docs" / "side-door"
CONTROL: dict[str, Any] = json.loads((FOLDER / "service-control-policy.json").read_text(encoding="utf-8"))
SCIENTIST: dict[str, Any] = json.loads((FOLDER / "data-scientist.json").read_text(encoding="utf-8"))
EVERYTHING = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/3"
LIVE = "arn:aws:ssm:us-east-1:123456789012:parameter/promotion/churn/prod/live"
ADMINISTRATOR = "arn:aws:iam::123456789012:role/Administrator"
REGISTRY = "arn:aws:iam::123456789012:role/promotion-RegistryRoleF991B780-Ab12Cd34"
PROJECTOR = "arn:aws:iam::123456789012:role/promotion-FunctionsOnProjectionDueRole-Ab12"
STATUS, STAGE = "sagemaker:ModelApprovalStatus", "sagemaker:ModelLifeCycle:Stage"
UPDATE, CREATE = "sagemaker:UpdateModelPackage", "sagemaker:CreateModelPackage"


def controlled(action: str, resource: str = PACKAGE, who: str = ADMINISTRATOR, **context: str) -> bool:
    """Return True if an administrator may, under the service control policy."""
    given = {"aws:PrincipalArn": who, **context}
    return policies.decision(action, resource, given, identity=[EVERYTHING, CONTROL])


def scientist(action: str, **context: str) -> bool:
    return policies.decision(action, PACKAGE, context, identity=[SCIENTIST])


@pytest.mark.parametrize("status", ["Approved", "Rejected"])
@pytest.mark.parametrize("action", [UPDATE, CREATE])
def test_nobody_but_the_registry_role_sets_a_status(action: str, status: str) -> None:
    assert not controlled(action, **{STATUS: status})
    assert not controlled(action, who=PROJECTOR, **{STATUS: status})
    assert controlled(action, who=REGISTRY, **{STATUS: status})


def test_registering_and_describing_stay_free() -> None:
    assert controlled(CREATE, **{STATUS: "PendingManualApproval"})
    assert controlled(UPDATE, **{"sagemaker:CustomerMetadataProperties/team": "search"})


@pytest.mark.parametrize("environment", ["dev", "test", "uat", "prod"])
def test_nobody_but_the_registry_role_says_where_a_model_stands(environment: str) -> None:
    field = {f"sagemaker:CustomerMetadataProperties/{environment}": "Approved"}
    assert not controlled(UPDATE, **field)
    assert controlled(UPDATE, who=REGISTRY, **field)
    assert not controlled(UPDATE, **{STAGE: environment})
    assert controlled(UPDATE, who=REGISTRY, **{STAGE: environment})


@pytest.mark.parametrize("action", ["ssm:PutParameter", "ssm:DeleteParameter"])
def test_nobody_but_the_service_points_pipelines(action: str) -> None:
    assert not controlled(action, LIVE)
    assert controlled(action, LIVE, who=PROJECTOR)
    assert controlled("ssm:GetParameter", LIVE)
    assert controlled(action, LIVE.replace("/promotion/", "/payroll/"))


@pytest.mark.parametrize(
    "action", ["iam:CreateRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy", "iam:PassRole"]
)
def test_nobody_puts_on_a_role_of_the_services_name(action: str) -> None:
    assert not controlled(action, REGISTRY)
    assert not controlled(action, "arn:aws:iam::123456789012:role/promotion-RegistryRole-of-mine")
    assert controlled(
        action, REGISTRY, who="arn:aws:iam::123456789012:role/cdk-hnb659fds-cfn-exec-role-123456789012-us-east-1"
    )
    assert controlled(action, "arn:aws:iam::123456789012:role/payroll")


def test_a_data_scientist_registers_for_approval_and_no_otherwise() -> None:
    assert scientist(CREATE, **{STATUS: "PendingManualApproval"})
    assert not scientist(CREATE, **{STATUS: "Approved"})
    assert not scientist(CREATE)


def test_a_data_scientist_changes_a_description_and_no_standing() -> None:
    assert scientist(UPDATE)
    assert scientist(UPDATE, **{"sagemaker:CustomerMetadataProperties/team": "search"})
    for key in (STATUS, STAGE, *(f"sagemaker:CustomerMetadataProperties/{n}" for n in ("dev", "prod", "requested_by"))):
        assert not scientist(UPDATE, **{key: "x"})


def test_a_service_control_policy_is_small_enough() -> None:
    """5,120 characters without white space: https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html"""
    assert len(json.dumps(CONTROL, separators=(",", ":"))) <= 5120
