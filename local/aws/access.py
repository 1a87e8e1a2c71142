"""Decide whether a caller may make a call, by IAM's policies and the resource's."""

from __future__ import annotations

from typing import Any

from local import ACCOUNT, REGION
from local.aws import callers, needs, policies
from local.aws.callers import Caller
from local.aws.needs import Need
from local.aws.operations import Operation

# Policies that the template puts on resources rather than on identities, by ARN: queues, buckets, event buses, keys.
resource_policies: dict[str, list[policies.Document]] = {}


class Denied(Exception):
    """The caller may not do this; worded as AWS words it."""

    def __init__(self, caller: Caller, need: Need) -> None:
        super().__init__(
            f"User: {caller.arn} is not authorized to perform: {need.action} on resource: {need.resource} because no "
            f"policy allows the {need.action} action"
        )
        self.need = need


def check(caller: Caller, operation: Operation) -> None:
    """Lets a permitted call pass.

    Raises:
        Denied: by what is missing in the caller's policies, or denied in one of them.
    """
    for need in needs.of(operation):
        if need.action == "sts:GetCallerIdentity":
            continue
        # The administrator may take on any role, to look at the world with its rights; on AWS the role would have to agree.
        if not allowed(caller, need) or not (caller.is_administrator or _trusted(caller, need)):
            raise Denied(caller, need)


def allowed(caller: Caller, need: Need) -> bool:
    """Return True if identity and resource policies together allow one need."""
    context: dict[str, Any] = {
        # Plain HTTP here stands for the TLS of AWS, which policies rightly insist on.
        "aws:SecureTransport": "true",
        "aws:PrincipalArn": caller.principals[-1],
        "aws:PrincipalAccount": ACCOUNT,
        "aws:SourceAccount": ACCOUNT,
        "aws:ResourceAccount": ACCOUNT,
        "aws:RequestedRegion": REGION,
        **need.context,
    }
    if caller.source_identity:
        context["aws:SourceIdentity"] = caller.source_identity
    # A bucket's policy speaks of the objects in it too.
    owner = need.resource.partition("/")[0] if need.resource.startswith("arn:aws:s3:") else need.resource
    on_resource = [document for place in {need.resource, owner} for document in resource_policies.get(place, ())]
    return policies.decision(
        need.action,
        need.resource,
        context,
        identity=caller.policies(),
        on_resource=on_resource,
        principals=caller.principals,
    )


def _trusted(caller: Caller, need: Need) -> bool:
    """Return True if the role's trust policy allows assuming it, and for every other call."""
    if need.action not in {"sts:AssumeRole", "sts:SetSourceIdentity"}:
        return True
    root = f"arn:aws:iam::{ACCOUNT}:root"
    try:
        document = callers.trust_policy(need.resource.rsplit("/", 1)[-1])
    except Exception:  # noqa: BLE001 moto's own error for a role that doesn't exist; AWS says AccessDenied too
        return False
    return policies.trusts(document, need.action, (*caller.principals, root), need.context)
