"""Settings of `[advanced.signing]`: the key that signs, and those that signed before."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class FormerKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that signed until another took its place.

    `public_key` is its public half as PEM; what it signed counts up to `until`, a time with its offset.
    """

    key_id: str
    public_key: str
    until: datetime


class Signing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The KMS key that signs in place of the one that the stack made, and the keys before it, oldest first."""

    key: str | None = None
    former: tuple[FormerKey, ...] = ()
