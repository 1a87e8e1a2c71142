"""A model package was registered, or changed while it waits for approval: hash its artifact and ask for the first environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from lambdas.world import client, config, logger, prefix, recorder
from promotion import names
from promotion.aws.accounts import share_group
from promotion.aws.artifacts import hash_container, registered_evidence, size_of
from promotion.aws.registry import describe
from promotion.errors import Invalid
from promotion.journal import Receipt
from promotion.model import Container, Package

_BYTES_PER_GB = 1 << 30


class PackageChange(Struct, frozen=True, kw_only=True):
    """The detail of SageMaker's event, as far as we read it. More fields may come; these must be there.

    https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
    """

    ModelPackageArn: str
    ModelPackageGroupName: str | None = None
    ModelPackageVersion: int | None = None
    ModelApprovalStatus: str | None = None


def parse_change(event: Any) -> PackageChange:
    """The change that an event tells of.

    Raises:
        Invalid: a field is missing or of another type; it is named.
    """
    try:
        return msgspec.convert((event or {}).get("detail"), PackageChange)
    except (msgspec.ValidationError, AttributeError) as error:
        raise Invalid("detail", str(error)) from None


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    try:
        change = parse_change(event)
    except Invalid as error:
        # Sending it again would not mend it.
        logger.error("event refused", extra={"reason": str(error), "event_id": event.get("id")})
        return {"refused": str(error)}
    group = change.ModelPackageGroupName or change.ModelPackageArn.rpartition("/")[0].rpartition("/")[2]
    if not config().governs(group) or not names.GROUP_PATTERN.fullmatch(group):
        logger.info("group not governed", extra={"model_package_group": group})
        return {"ignored": "group not governed"}
    return register(change.ModelPackageArn)


def register(arn: str) -> dict[str, Any]:
    """Read a package, hash its artifact, and have it recorded with the request for the first environment."""
    try:
        package, description = describe(client("sagemaker"), arn, config().identity.requesters)
    except Invalid as error:
        logger.error("package refused", extra={"model_package_arn": arn, "reason": str(error)})
        return {"refused": str(error)}
    package = with_digests(package)
    evidence = registered_evidence(client("s3"), description)
    receipt = recorder().record("register", package=package, evidence=evidence)
    logger.info(
        "model registered",
        extra={
            "model_package_group": package.group,
            "model_package_version": package.version,
            "sequence": receipt.sequence,
            "note": receipt.note,
            "problem": package.problem,
        },
    )
    if readers := execution_roles():
        share_group(client("sagemaker"), package.arn, package.group, readers)
    if description.get("ModelApprovalStatus") in (names.APPROVED, names.REJECTED):
        # Never Pending, so that nobody was asked; or set elsewhere while its artifact was hashed.
        receipt = record_bypass(description)
    return {"sequence": receipt.sequence, "note": receipt.note}


def execution_roles() -> list[str]:
    """ARNs of what models run as in the accounts that environments have of their own."""
    return [
        environment.execution_role
        or f"arn:aws:iam::{account}:role/{names.environment_role(prefix(), environment.name, 'execution')}"
        for environment in config().environments
        if (account := config().elsewhere.get(environment.name))
    ]


def record_bypass(found: Mapping[str, Any]) -> Receipt:
    """Have it recorded that somebody else set a package's approval status, as far as the ledger says otherwise.

    Raises:
        Invalid: `version` is unknown to the ledger.
        PromotionError: it was refused.
    """
    group, version, status = found["ModelPackageGroupName"], found["ModelPackageVersion"], found["ModelApprovalStatus"]
    by = found.get("LastModifiedBy") or found.get("CreatedBy") or {}
    who = str(by.get("UserProfileName") or (by.get("IamIdentity") or {}).get("Arn") or "somebody")
    if who.endswith(f"/{names.SERVICE}"):
        # Our own write of another field came after; it is not whom to blame.
        who = "somebody, whom CloudTrail names"
    changed = found.get("LastModifiedTime") or found.get("CreationTime")
    receipt = recorder().record("bypass", group=group, version=version, status=status, by=who, at=changed)
    if receipt.events:
        logger.warning(
            "approval bypassed",
            extra={"model_package_group": group, "model_package_version": version, "status": status, "by": who},
        )
    return receipt


def with_digests(package: Package) -> Package:
    """A package whose containers' artifacts have been hashed; or that says why they can't be, which shuts approval."""
    containers: list[Container] = []
    for container in package.containers:
        try:
            limit = config().artifacts.hash_in_function_up_to_gb * _BYTES_PER_GB
            size = size_of(client("s3"), container)
            if size > limit:
                size_gb = f"{size / _BYTES_PER_GB:.0f} GB"
                problem = f"the artifact is {size_gb}, more than is hashed here: docs/configuration.md, [artifacts]."
                return replace(package, hashing=True, problem=problem)
            containers.append(hash_container(client("s3"), container))
        except Invalid as error:
            return replace(package, problem=str(error))
    return replace(package, containers=tuple(containers))
