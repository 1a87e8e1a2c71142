"""Role of the job that hashes artifacts too large for a function."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.permissions import Permissions, allow
from infra.storage import Store
from promotion import names


def hashing_role(scope: Construct, store: Store, permissions: Permissions, *, role_name: str | None = None) -> iam.Role:
    """Make the role that reads artifacts, and is the only one to write below `hashes/` in the evidence bucket.

    The content of that folder is trusted.
    """
    stack = Stack.of(scope)
    role = iam.Role(
        scope,
        "HashingRole",
        # Fixed, because the policies of keys in other accounts name the role.
        role_name=role_name,
        description="Hashes artifacts too large for a function",
        assumed_by=iam.ServicePrincipal(
            "sagemaker.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
        ),
    )
    hashes = store.evidence.arn_for_objects(f"{names.HASHES}/*")
    manifests = store.evidence.arn_for_objects(f"{names.MANIFESTS}/*")
    for statement in (
        allow(["s3:GetObject", "s3:GetObjectVersion"], [f"{bucket}/*" for bucket in permissions.artifact_buckets()]),
        allow(["s3:GetObject", "s3:PutObject"], [hashes]),
        allow(["s3:PutObject"], [manifests]),
        *permissions.run_jobs(),
    ):
        role.add_to_policy(statement)
    return role
