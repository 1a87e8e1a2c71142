"""What the service's own functions saw happen. They invoke this function; no HTTP is in it, and nothing here decides.

A function that is taken over can say here that something happened. It can't approve, reject, roll back, revoke or adopt.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from lambdas.shared.appending import about, signing
from lambdas.shared.dependencies import config, logger
from promotion.domain.model import Container, EndpointState, EnvironmentState, Evidence, Package
from promotion.errors import Invalid, PromotionError
from promotion.ledger.append import Receipt
from promotion.workflows import decisions, drift, endpoints, operations


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return from_service(event)


def from_service(event: dict[str, Any]) -> dict[str, Any]:
    """What another function of this service saw happen. None of these decides anything."""
    operation, given = str(event.get("operation")), event.get("arguments") or {}
    try:
        record = _SERVICE_OPERATIONS[operation]
    except KeyError:
        return {"error": f"{operation} is nothing that a function may record."}
    try:
        receipt = record(given)
    except (PromotionError, msgspec.ValidationError) as error:
        logger.warning("not recorded", extra={"operation": operation, "reason": str(error)})
        return {"error": getattr(error, "reason", str(error)), "field": getattr(error, "field", "")}
    logger.info(
        "recorded",
        extra={"operation": operation, "sequence": receipt.sequence, "note": receipt.note, **about(receipt)},
    )
    return {"receipt": msgspec.to_builtins(receipt)}


def _register(given: dict[str, Any]) -> Receipt:
    package, evidence = msgspec.convert(given["package"], Package), msgspec.convert(given["evidence"], Evidence)
    if not config().governs(package.group):
        raise Invalid("model_package_group", f"{package.group} is not governed by this service.")
    return decisions.register(package, evidence, world=signing())


def _artifact(given: dict[str, Any]) -> Receipt:
    containers = msgspec.convert(given["containers"], tuple[Container, ...])
    return decisions.record_artifact(
        given["group"],
        given["version"],
        containers,
        given.get("problem", ""),
        world=signing(),
        hashing=given.get("hashing", False),
    )


def _inference(given: dict[str, Any]) -> Receipt:
    evidence = msgspec.convert(given["evidence"], Evidence)
    return decisions.record_inference(given["group"], given["version"], evidence, world=signing())


def _failure(given: dict[str, Any]) -> Receipt:
    return decisions.record_failure(
        given["group"], given["environment"], given["run_id"], given["problem"], broken=given["broken"], world=signing()
    )


def _keep_time(given: dict[str, Any]) -> Receipt:
    return decisions.keep_time(msgspec.convert(given["environment"], EnvironmentState), world=signing())


def _bypass(given: dict[str, Any]) -> Receipt:
    at = msgspec.convert(given.get("at"), datetime | None)
    return operations.record_bypass(
        given["group"], given["version"], given["status"], given["by"], world=signing(), at=at
    )


def _monitoring(given: dict[str, Any]) -> Receipt:
    return drift.record_monitoring(
        given["group"], given["environment"], given["source"], given["violations"], given["reason"],
        world=signing(), report=given.get("report", ""),
    )  # fmt: skip


def _retraining(given: dict[str, Any]) -> Receipt:
    return drift.record_retraining(
        given["group"], given["environment"], given["version"], given["pipeline"], given["execution"], world=signing()
    )


def _endpoint(given: dict[str, Any]) -> Receipt:
    found = msgspec.convert(given["endpoint"], EndpointState)
    return endpoints.record_endpoint(given["group"], given["environment"], given["version"], found, world=signing())


_SERVICE_OPERATIONS: dict[str, Callable[[dict[str, Any]], Receipt]] = {
    "register": _register,
    "artifact": _artifact,
    "inference": _inference,
    "failure": _failure,
    "keep_time": _keep_time,
    "bypass": _bypass,
    "monitoring": _monitoring,
    "retraining": _retraining,
    "endpoint": _endpoint,
}
