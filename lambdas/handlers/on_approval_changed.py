"""A package's approval status was set: record it if it was set outside this service, and revert it if so configured."""

from __future__ import annotations

from lambdas.shared.changes import is_own, parse_change, record_bypass
from lambdas.shared.dependencies import client, config, logger
from lambdas.shared.registrations import read_anew
from promotion import names
from promotion.errors import Invalid, PromotionError


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    try:
        change = parse_change(event)
    except Invalid as error:
        logger.error("event refused", extra={"reason": str(error), "event_id": event.get("id")})
        return {"refused": str(error)}
    # The event may be late, or about our own write, so the registry's present status is used instead.
    found = client("sagemaker").describe_model_package(ModelPackageName=change.ModelPackageArn)
    group, version = found.get("ModelPackageGroupName"), found.get("ModelPackageVersion")
    if group is None or version is None or not config().governs(group):
        return {"ignored": "group not governed"}
    status = found.get("ModelApprovalStatus")
    if status not in (names.APPROVED, names.REJECTED):
        return {"ignored": "the status has changed again"}
    try:
        receipt = record_bypass(found)
    except Invalid as error:
        if error.field == "version":
            # The package was never pending, so it has no request: it is registered now, which records its status too.
            _read_anew(change.ModelPackageArn, group, "born approved")
            return {"registering": change.ModelPackageArn}
        logger.warning("not recorded", extra={"model_package_group": group, "reason": str(error)})
        return {"refused": str(error)}
    except PromotionError as error:
        logger.warning("not recorded", extra={"model_package_group": group, "reason": str(error)})
        return {"refused": str(error)}
    if not is_own(found):
        # Other changes of the package are detected when it is read again.
        _read_anew(change.ModelPackageArn, found["ModelPackageGroupName"], "changed")
    return {"sequence": receipt.sequence, "note": receipt.note}


def _read_anew(arn: str, group: str, why: str) -> None:
    read_anew({"id": why, "detail": {"ModelPackageArn": arn, "ModelPackageGroupName": group}})
