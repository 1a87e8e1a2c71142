"""A caller has the policies of its user, groups and role, and roles are assumed only by whom they trust."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local import ACCOUNT
from local.aws import access, callers
from local.aws.access import Denied
from local.aws.callers import Caller
from local.aws.needs import Need
from local.aws.operations import Operation

ROLE = f"arn:aws:iam::{ACCOUNT}:role"


def policy(action: str, effect: str = "Allow") -> str:
    statement = {"Effect": effect, "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(**principal: str) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def iam() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("iam")
        made.create_user(UserName="dee")
        made.create_group(GroupName="team")
        made.add_user_to_group(GroupName="team", UserName="dee")
        yield made


def dee(iam: Any) -> Caller:
    return callers.find(iam.create_access_key(UserName="dee")["AccessKey"]["AccessKeyId"], None)


def assume(caller: Caller, role: str) -> None:
    access.check(caller, Operation("sts", "AssumeRole", {"RoleArn": f"{ROLE}/{role}", "RoleSessionName": "s"}))


def test_a_user_has_the_policies_of_their_groups(iam: Any) -> None:
    attached = iam.create_policy(PolicyName="attached", PolicyDocument=policy("s3:GetObject"))["Policy"]["Arn"]
    before = dee(iam)
    iam.put_group_policy(GroupName="team", PolicyName="inline", PolicyDocument=policy("s3:PutObject"))
    assert [access.allowed(before, Need(f"s3:{name}Object")) for name in ("Get", "Put")] == [False, True]
    iam.attach_group_policy(GroupName="team", PolicyArn=attached)
    assert [access.allowed(before, Need(f"s3:{name}Object")) for name in ("Get", "Put")] == [True, True]
    iam.remove_user_from_group(GroupName="team", UserName="dee")
    assert [access.allowed(before, Need(f"s3:{name}Object")) for name in ("Get", "Put")] == [False, False]


@pytest.mark.parametrize("kind", ["user", "role"])
def test_an_attached_policy_applies_in_its_default_version(iam: Any, kind: str) -> None:
    arn = iam.create_policy(PolicyName="p", PolicyDocument=policy("s3:GetObject"))["Policy"]["Arn"]
    if kind == "user":
        iam.attach_user_policy(UserName="dee", PolicyArn=arn)
        caller = dee(iam)
    else:
        iam.create_role(RoleName="own", AssumeRolePolicyDocument=trust(Service="lambda.amazonaws.com"))
        iam.attach_role_policy(RoleName="own", PolicyArn=arn)
        session = callers.service_session(f"{ROLE}/own", "s", "lambda.amazonaws.com")
        caller = callers.find(session["aws_access_key_id"], session["aws_session_token"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy("s3:PutObject"), SetAsDefault=False)
    assert [access.allowed(caller, Need(f"s3:{name}Object")) for name in ("Get", "Put")] == [True, False]
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    assert [access.allowed(caller, Need(f"s3:{name}Object")) for name in ("Get", "Put")] == [False, True]


def test_a_service_assumes_only_a_role_that_trusts_it(iam: Any) -> None:
    iam.create_role(RoleName="own", AssumeRolePolicyDocument=trust(Service="lambda.amazonaws.com"))
    for services in ("events.amazonaws.com", ["events.amazonaws.com", "states.amazonaws.com"]):
        with pytest.raises(PermissionError, match=rf"trust policy of {ROLE}/own does not let events\.amazonaws\.com"):
            callers.service_session(f"{ROLE}/own", "s", services)
    assert callers.service_session(f"{ROLE}/own", "s", ["events.amazonaws.com", "lambda.amazonaws.com"])


def test_a_role_that_does_not_exist_is_denied_as_one_without_trust(iam: Any) -> None:
    iam.put_user_policy(UserName="dee", PolicyName="p", PolicyDocument=policy("sts:AssumeRole"))
    iam.create_role(RoleName="trusting", AssumeRolePolicyDocument=trust(AWS=ACCOUNT))
    iam.create_role(RoleName="other", AssumeRolePolicyDocument=trust(Service="lambda.amazonaws.com"))
    caller = dee(iam)
    assume(caller, "trusting")
    for role in ("other", "gone"):
        with pytest.raises(Denied, match=rf"user/dee is not authorized to perform: sts:AssumeRole on .*role/{role}"):
            assume(caller, role)
