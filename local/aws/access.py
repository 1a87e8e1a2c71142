"""Authorization of calls by the policies of identity and resource."""

from __future__ import annotations

from typing import Any

from moto.iam.exceptions import NotFoundException

from local import ACCOUNT, REGION
from local.aws import callers, needs, policies
from local.aws.callers import Caller
from local.aws.needs import Need
from local.aws.operations import Operation

# Resource policies in the template, by ARN: of queues, buckets, event buses and keys.
resource_policies: dict[str, list[policies.Document]] = {}


def attach(arn: str, document: str | policies.Document) -> None:
    """Add a policy document to a resource."""
    resource_policies.setdefault(arn, []).append(policies.parse(document))


class Denied(Exception):
    """The caller is not authorized; the message has AWS's form."""

    def __init__(self, caller: Caller, need: Need) -> None:
        super().__init__(
            f"User: {caller.arn} is not authorized to perform: {need.action} on resource: {need.resource} because no "
            f"policy allows the {need.action} action"
        )
        self.need = need


def check(caller: Caller, operation: Operation) -> None:
    """Return if the caller may make a call.

    Raises:
        Denied: no policy allows the call, or one denies it.
    """
    for need in needs.of(operation):
        if need.action == "sts:GetCallerIdentity":
            continue
        # The administrator may assume any role, to test its permissions; on AWS the role's trust policy would have to
        # allow it.
        if not allowed(caller, need) or not (caller.is_administrator or _trusted(caller, need)):
            raise Denied(caller, need)


def allowed(caller: Caller, need: Need) -> bool:
    """Return True if identity and resource policies together allow one need."""
    context: dict[str, Any] = {
        # Always true, because plain HTTP replaces AWS's TLS here, and policies require TLS.
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
    # A bucket's policy also applies to its objects.
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
    """Return True if the role's trust policy allows assuming it; for all other calls, too."""
    if need.action not in {"sts:AssumeRole", "sts:SetSourceIdentity"}:
        return True
    root = f"arn:aws:iam::{ACCOUNT}:root"
    try:
        document = callers.trust_policy(need.resource.rsplit("/", 1)[-1])
    except NotFoundException:
        # There is no such role; AWS says AccessDenied too.
        return False
    return policies.trusts(document, need.action, (*caller.principals, root), need.context)
