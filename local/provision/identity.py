"""Roles and their policies."""

from __future__ import annotations

import hashlib
from typing import Any

from local.provision.builder import Builder, as_json, makes
from local.template import Made, Resource, TemplateError


@makes("AWS::IAM::Role")
def role(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    for elsewhere in ("Policies", "ManagedPolicyArns"):
        if elsewhere in properties:
            raise TemplateError(f"{resource.logical_id}: the local service doesn't know a role's {elsewhere}.")
    name = properties.get("RoleName") or builder.name(resource, longest=60)
    made = builder.client("iam").create_role(
        RoleName=name,
        AssumeRolePolicyDocument=as_json(properties["AssumeRolePolicyDocument"]),
        Path=properties.get("Path", "/"),
    )["Role"]
    return Made(name, {"Arn": made["Arn"], "RoleId": made["RoleId"]})


@makes("AWS::IAM::Policy")
def policy(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    for name in properties["Roles"]:
        builder.client("iam").put_role_policy(
            RoleName=name, PolicyName=properties["PolicyName"], PolicyDocument=as_json(properties["PolicyDocument"])
        )
    return Made(properties["PolicyName"])


@makes("AWS::IAM::ManagedPolicy")
def managed_policy(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    """Make the policy that the CDK adds for the statements that don't fit into a role's own policy."""
    digest = hashlib.sha256(resource.logical_id.encode()).hexdigest()[:8]
    name = properties.get("ManagedPolicyName") or f"{resource.logical_id[:100]}-{digest}"
    iam = builder.client("iam")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=as_json(properties["PolicyDocument"]))["Policy"]["Arn"]
    for role_name in properties.get("Roles", ()):
        iam.attach_role_policy(RoleName=role_name, PolicyArn=arn)
    return Made(arn, {"PolicyArn": arn})
