"""Events of SageMaker about changed packages, and the recording of out-of-band decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from lambdas.shared.dependencies import logger, recorder
from promotion import names
from promotion.errors import Invalid
from promotion.ledger.append import Receipt
from promotion.workflows.commands import RecordBypass

# CloudFormation puts the stack's name before the role's name and random letters after it.
_OWN = re.compile(
    rf"arn:[\w-]+:sts::\d{{12}}:assumed-role/[\w-]*RegistryRole[\w-]*/{re.escape(names.SERVICE)}", re.ASCII
)


class PackageChange(Struct, frozen=True, kw_only=True):
    """The part of SageMaker's event detail that is read here.

    https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
    """

    ModelPackageArn: str
    ModelPackageGroupName: str | None = None


def parse_change(event: Any) -> PackageChange:
    """Read the change from an event.

    Raises:
        Invalid: a field is missing or of another type; the error names it.
    """
    try:
        return msgspec.convert((event or {}).get("detail"), PackageChange)
    except (msgspec.ValidationError, AttributeError) as error:
        raise Invalid("detail", str(error)) from None


def is_own(found: Mapping[str, object]) -> bool:
    """Return True if the last change of a package was made by this service's registry role.

    The session's name is not enough, because the caller of AssumeRole chooses it.
    """
    return _OWN.fullmatch(_changed_by(found)) is not None


def _changed_by(found: Mapping[str, Any]) -> str:
    by = found.get("LastModifiedBy") or found.get("CreatedBy") or {}
    return str(by.get("UserProfileName") or (by.get("IamIdentity") or {}).get("Arn") or "somebody")


def record_bypass(found: Mapping[str, Any]) -> Receipt:
    """Record that a package's approval status was set outside this service, if it differs from the ledger.

    Raises:
        Invalid: `version` is unknown to the ledger.
        PromotionError: recording was refused.
    """
    group, version, status = found["ModelPackageGroupName"], found["ModelPackageVersion"], found["ModelApprovalStatus"]
    who = _changed_by(found)
    if is_own(found):
        # Our own write of another field came later, so its author is not the one who set the status.
        who = "somebody, whom CloudTrail names"
    changed = found.get("LastModifiedTime") or found.get("CreationTime")
    receipt = recorder().record(RecordBypass(group=group, version=version, status=status, by=who, at=changed))
    if receipt.events:
        logger.warning(
            "approval bypassed",
            extra={"model_package_group": group, "model_package_version": version, "status": status, "by": who},
        )
    return receipt
