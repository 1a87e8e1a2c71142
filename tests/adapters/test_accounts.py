"""Live parameters land in their environment's own account, by the role that is there for it; a group's policy is merged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from local import moto_patches
from promotion.aws.accounts import STATEMENT, Accounts, RoutedParameters, share_group

HERE, PROD = "123456789012", "444444444444"
LIVE, DEV = "/promotion/summaries/prod/live", "/promotion/summaries/dev/live"
VERSION = "/promotion/summaries/versions/1"
GROUP_ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/summaries"
PACKAGE_ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package/summaries/1"
READER = "arn:aws:iam::444444444444:role/promotion-prod-execution"


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def routed(asked: list[dict[str, Any]]) -> RoutedParameters:
    sts = boto3.client("sts")
    sts.meta.events.register("provide-client-params.sts.AssumeRole", lambda params, **_: asked.append(params))
    accounts = Accounts(sts, {"prod": PROD}, prefix="/promotion", purpose="writer")
    return RoutedParameters(boto3.client("ssm"), ["prod"], accounts.client)


def in_prod() -> Any:
    """SSM as somebody in the environment's account sees it."""
    role = f"arn:aws:iam::{PROD}:role/anybody"
    found = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="looks")["Credentials"]
    return boto3.client(
        "ssm",
        aws_access_key_id=found["AccessKeyId"],
        aws_secret_access_key=found["SecretAccessKey"],
        aws_session_token=found["SessionToken"],
    )


def names_in(client: Any) -> set[str]:
    return {found["Name"] for found in client.get_parameters_by_path(Path="/promotion", Recursive=True)["Parameters"]}


def test_live_parameters_are_in_the_environments_account_and_all_others_here(routed: RoutedParameters) -> None:
    for name in (LIVE, DEV, VERSION):
        routed.put_parameter(Name=name, Value="{}", Type="String", Overwrite=True)
    assert names_in(in_prod()) == {LIVE}
    assert names_in(boto3.client("ssm")) == {DEV, VERSION}


def test_a_live_parameter_is_read_where_it_was_written(routed: RoutedParameters) -> None:
    in_prod().put_parameter(Name=LIVE, Value="there", Type="String")
    boto3.client("ssm").put_parameter(Name=LIVE, Value="here", Type="String")
    assert routed.get_parameter(Name=LIVE)["Parameter"]["Value"] == "there"


def test_a_missing_parameter_is_missed_as_in_one_account(routed: RoutedParameters) -> None:
    with pytest.raises(routed.exceptions.ParameterNotFound):
        routed.get_parameter(Name=LIVE)


def test_verification_sees_all_accounts(routed: RoutedParameters) -> None:
    for name in (LIVE, DEV):
        routed.put_parameter(Name=name, Value="{}", Type="String", Overwrite=True)
    pages = routed.get_paginator("get_parameters_by_path").paginate(Path="/promotion", Recursive=True)
    assert {found["Name"] for page in pages for found in page["Parameters"]} == {LIVE, DEV}


def test_a_group_that_is_called_like_an_environment_is_routed_by_the_environment(routed: RoutedParameters) -> None:
    routed.put_parameter(Name="/promotion/prod/dev/live", Value="{}", Type="String", Overwrite=True)
    assert names_in(boto3.client("ssm")) == {"/promotion/prod/dev/live"}


def test_the_role_is_asked_for_once_and_for_one_environment(
    routed: RoutedParameters, asked: list[dict[str, Any]]
) -> None:
    for _ in range(3):
        routed.put_parameter(Name=LIVE, Value="{}", Type="String", Overwrite=True)
    (request,) = asked
    assert request["RoleArn"] == f"arn:aws:iam::{PROD}:role/promotion-prod-writer"
    assert request["ExternalId"] == "/promotion/prod"


def stubbed(policy: dict[str, Any] | None) -> tuple[Any, Stubber]:
    client = boto3.client("sagemaker")
    stub = Stubber(client)
    if policy is None:
        message = f"Cannot find resource policy for: {GROUP_ARN}"
        stub.add_client_error("get_model_package_group_policy", "ValidationException", message)
    else:
        stub.add_response("get_model_package_group_policy", {"ResourcePolicy": json.dumps(policy)})
    return client, stub


def put(client: Any, stub: Stubber) -> dict[str, Any]:
    """Return the policy that was put."""
    stub.add_response("put_model_package_group_policy", {"ModelPackageGroupArn": GROUP_ARN})
    seen: list[dict[str, Any]] = []
    client.meta.events.register(
        "provide-client-params.sagemaker.PutModelPackageGroupPolicy", lambda params, **_: seen.append(params)
    )
    with stub:
        assert share_group(client, PACKAGE_ARN, "summaries", [READER])
    (given,) = seen
    document: dict[str, Any] = json.loads(given["ResourcePolicy"])
    return document


OTHERS = {
    "Sid": "Team",
    "Effect": "Allow",
    "Principal": {"AWS": "555555555555"},
    "Action": "sagemaker:*",
    "Resource": "*",
}


def test_others_statements_stay_in_a_groups_policy() -> None:
    document = put(*stubbed({"Version": "2012-10-17", "Statement": [OTHERS]}))
    assert document["Statement"][0] == OTHERS
    assert document["Statement"][1]["Sid"] == STATEMENT
    assert document["Statement"][1]["Resource"] == [GROUP_ARN, PACKAGE_ARN.rpartition("/")[0] + "/*"]
    assert document["Statement"][1]["Principal"] == {"AWS": [READER]}


def test_a_group_without_a_policy_gets_one() -> None:
    assert [statement["Sid"] for statement in put(*stubbed(None))["Statement"]] == [STATEMENT]


def test_our_older_statement_is_replaced_and_a_current_one_left() -> None:
    older = {**OTHERS, "Sid": STATEMENT}
    document = put(*stubbed({"Statement": [older, OTHERS]}))
    assert [statement["Sid"] for statement in document["Statement"]] == ["Team", STATEMENT]
    client, stub = stubbed(document)
    with stub:
        assert not share_group(client, PACKAGE_ARN, "summaries", [READER])


def test_a_policy_that_cannot_be_read_is_not_overwritten() -> None:
    client = boto3.client("sagemaker")
    stub = Stubber(client)
    stub.add_client_error("get_model_package_group_policy", "AccessDeniedException", "not authorized")
    with stub, pytest.raises(client.exceptions.ClientError):
        share_group(client, PACKAGE_ARN, "summaries", [READER])
    stub.assert_no_pending_responses()


def test_a_group_is_shared_once_and_others_are_left_in_its_policy() -> None:
    moto_patches.apply()
    client = boto3.client("sagemaker")
    client.create_model_package_group(ModelPackageGroupName="summaries")
    assert share_group(client, PACKAGE_ARN, "summaries", [READER])
    assert not share_group(client, PACKAGE_ARN, "summaries", [READER])
    policy = json.loads(client.get_model_package_group_policy(ModelPackageGroupName="summaries")["ResourcePolicy"])
    with_others = json.dumps({**policy, "Statement": [OTHERS, *policy["Statement"]]})
    client.put_model_package_group_policy(ModelPackageGroupName="summaries", ResourcePolicy=with_others)
    assert not share_group(client, PACKAGE_ARN, "summaries", [READER])
