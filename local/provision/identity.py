"""Roles and their policies."""

from __future__ import annotations

import hashlib
from typing import Any

from local import ACCOUNT
from local.provision.builder import Builder, as_json, makes
from local.template import Made, Resource, TemplateError

# AWS's managed policies that only allow writing logs and traces, which are files here.
_LOGS_ONLY = ("AWSLambdaBasicExecutionRole", "AWSXRayDaemonWriteAccess", "AmazonAPIGatewayPushToCloudWatchLogs")


@makes("AWS::IAM::Role")
def role(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("RoleName") or builder.name(resource, longest=60)
    iam = builder.client("iam")
    made = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=as_json(properties["AssumeRolePolicyDocument"]),
        Path=properties.get("Path", "/"),
    )["Role"]
    for policy in properties.get("Policies", ()):
        iam.put_role_policy(
            RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=as_json(policy["PolicyDocument"])
        )
    for arn in properties.get("ManagedPolicyArns", ()):
        if arn.startswith(f"arn:aws:iam::{ACCOUNT}:"):
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)
        elif not arn.endswith(_LOGS_ONLY):
            raise TemplateError(f"{resource.logical_id}: the local service doesn't have AWS's policy {arn}.")
    return Made(name, {"Arn": made["Arn"], "RoleId": made["RoleId"]})


@makes("AWS::IAM::Policy")
@makes("AWS::IAM::RolePolicy")
def policy(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    roles = properties.get("Roles") or [properties["RoleName"]]
    for name in roles:
        builder.client("iam").put_role_policy(
            RoleName=name, PolicyName=properties["PolicyName"], PolicyDocument=as_json(properties["PolicyDocument"])
        )
    return Made(properties["PolicyName"])


@makes("AWS::IAM::ManagedPolicy")
def managed_policy(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    digest = hashlib.sha256(resource.logical_id.encode()).hexdigest()[:8]
    name = properties.get("ManagedPolicyName") or f"{resource.logical_id[:100]}-{digest}"
    iam = builder.client("iam")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=as_json(properties["PolicyDocument"]))["Policy"]["Arn"]
    for role_name in properties.get("Roles", ()):
        iam.attach_role_policy(RoleName=role_name, PolicyArn=arn)
    return Made(arn, {"PolicyArn": arn})
