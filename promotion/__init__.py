"""Approval and promotion of machine learning models from the SageMaker Model Registry.

`from promotion import resolve` is all that a pipeline needs; it asks for boto3 and cryptography only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promotion.client.live_record import LiveModel
    from promotion.client.resolve import resolve

__all__ = ["LiveModel", "resolve"]


def __getattr__(name: str) -> Any:
    # Late, so that the words and rules below don't pull boto3 in.
    if name == "resolve":
        from promotion.client.resolve import resolve

        return resolve
    if name == "LiveModel":
        from promotion.client.live_record import LiveModel

        return LiveModel
    raise AttributeError(name)
