"""Record the observations of the service's own functions, which invoke this one. It has no HTTP code and no decisions.

A compromised function can record an observation here, but can't approve, reject, roll back, revoke or adopt.
"""

from __future__ import annotations

import msgspec

from lambdas.shared.appending import about, signing
from lambdas.shared.dependencies import logger
from promotion.errors import Conflict, PromotionError
from promotion.workflows import commands


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    return from_service(event)


def from_service(event: dict[str, object]) -> dict[str, object]:
    """Record an observation of another function of this service. None of these operations decides anything."""
    operation = str(event.get("operation"))
    try:
        receipt = commands.dispatch(commands.read(event), signing())
    except Conflict:
        # No refusal: the caller fails, and its event is delivered again.
        raise
    except PromotionError as error:
        logger.warning("not recorded", extra={"operation": operation, "reason": str(error)})
        return {"error": getattr(error, "reason", str(error)), "field": getattr(error, "field", "")}
    logger.info(
        "recorded",
        extra={"operation": operation, "sequence": receipt.sequence, "note": receipt.note, **about(receipt)},
    )
    return {"receipt": msgspec.to_builtins(receipt)}
