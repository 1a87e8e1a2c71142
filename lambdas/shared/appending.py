"""Shared by functions that append to the ledger: the signing context, and the response with the receipt."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec

from lambdas.shared.dependencies import signer, world
from promotion.errors import Invalid
from promotion.ledger.append import Context, Receipt


def signing() -> Context:
    """Context for writers: signs heads, backs off after a lost race."""
    return msgspec.structs.replace(world(), sign=signer().sign, pause=_pause)


def _pause(attempt: int) -> None:
    """A moment of random length: those who lost a race don't all start the next one together."""
    time.sleep(random.uniform(0, min(0.02 * 2**attempt, 1.0)))  # noqa: S311 - spreads load, guards nothing


def version_number(text: str, field: str = "version") -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise Invalid(field, f"{text[:40]!r} is not a version number.")
    return int(text)


def about(receipt: Receipt) -> dict[str, Any]:
    """The same of what was appended."""
    version = next((event.version for event in reversed(receipt.events) if event.version is not None), None)
    return {"model_package_group": receipt.group, "model_package_version": version}
