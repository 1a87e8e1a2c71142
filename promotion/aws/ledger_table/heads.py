"""Attributes of a head's item beside its state: the condition of an append reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from promotion.domain.model import Head
from promotion.ledger.comparing import short
from promotion.ledger.events import Difference

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef


def beside(head: Head) -> dict[str, AttributeValueTypeDef]:
    """Return the attributes that belong beside a head."""
    return {"sequence": {"N": str(head.sequence)}, "hash": {"S": head.hash}}


def differences_beside(head: Head, item: Mapping[str, AttributeValueTypeDef]) -> tuple[Difference, ...]:
    """Compare the attributes of a head's item with its state: with another value there, no append succeeds."""
    return tuple(
        Difference(
            what="ledger",
            where=f"{head.group} head, {name}",
            expected=_attribute_text(wanted),
            found=_attribute_text(item.get(name)),
        )
        for name, wanted in beside(head).items()
        if item.get(name) != wanted
    )


def _attribute_text(attribute: AttributeValueTypeDef | None) -> str:
    return short(next(iter(attribute.values()))) if attribute else "nothing"
