"""What the service's own functions saw happen. They invoke this function; no HTTP is in it, and nothing here decides.

A function that is taken over can say here that something happened. It can't approve, reject, roll back, revoke or adopt.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lambdas.shared.appending import about, signing
from lambdas.shared.dependencies import logger
from promotion.errors import PromotionError
from promotion.workflows import commands


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return from_service(event)


def from_service(event: dict[str, Any]) -> dict[str, Any]:
    """Record what another function of this service saw happen. None of these operations decides anything."""
    operation = str(event.get("operation"))
    try:
        receipt = commands.dispatch(commands.read(event), signing())
    except PromotionError as error:
        logger.warning("not recorded", extra={"operation": operation, "reason": str(error)})
        return {"error": getattr(error, "reason", str(error)), "field": getattr(error, "field", "")}
    logger.info(
        "recorded",
        extra={"operation": operation, "sequence": receipt.sequence, "note": receipt.note, **about(receipt)},
    )
    return {"receipt": msgspec.to_builtins(receipt)}
