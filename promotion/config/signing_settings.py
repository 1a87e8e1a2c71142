"""Settings of `[advanced.signing]`: the signing key and the former signing keys."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class FormerKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that signed until another one replaced it.

    `public_key` is its public key as PEM; its signatures are valid up to `until`, a time with an offset.
    """

    key_id: str
    public_key: str
    until: datetime


class Signing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The KMS key that signs instead of the stack's own, and the former keys, oldest first."""

    key: str | None = None
    former: tuple[FormerKey, ...] = ()
