"""Shared by functions that append to the ledger: the signing context, and the response with the receipt."""

from __future__ import annotations

import random
import time

import msgspec
from botocore.exceptions import ClientError

from lambdas.shared.dependencies import client, config, logger, reading_context, signer
from promotion.aws.keys import KmsSigner
from promotion.ledger.append import Context, Receipt


def signing() -> Context:
    """Return the context for writers, which signs heads and backs off after a lost race."""
    key = signer()
    return msgspec.structs.replace(
        reading_context(), sign=key.sign, key_id=key.key_id, sign_formerly=_sign_formerly, pause=_pause
    )


def _sign_formerly(key_id: str, message: bytes) -> bytes | None:
    """Sign with a former key, once for each group; None if the key is not configured as former, or can't sign any more."""
    if key_id not in {former.key_id for former in config().signing.former}:
        return None
    try:
        return KmsSigner(client("kms"), key_id).sign(message)
    except ClientError:
        logger.exception("the former key did not sign", extra={"key_id": key_id})
        return None


def _pause(attempt: int) -> None:
    """Wait a random time, so that writers who lost a race don't all start again together."""
    time.sleep(random.uniform(0, min(0.02 * 2**attempt, 1.0)))  # noqa: S311 - spreads load, guards nothing


def about(receipt: Receipt) -> dict[str, object]:
    """Return the group and version of a receipt as fields for a log line."""
    version = next((event.version for event in reversed(receipt.events) if event.version is not None), None)
    return {"model_package_group": receipt.group, "model_package_version": version}
