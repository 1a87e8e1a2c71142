"""Canonical JSON, the form that is stored, hashed and signed."""

from __future__ import annotations

import hashlib

import msgspec


def canonical(value: object) -> bytes:
    """JSON of `value` with sorted keys and no spaces.

    Hashes cover the stored text, because a struct that is decoded and encoded again may have more fields.
    """
    return msgspec.json.encode(value, order="sorted")


def digest(value: object) -> str:
    """Return the SHA-256, hex, of `value`'s canonical JSON; only for new records, see `canonical`."""
    return hashlib.sha256(canonical(value)).hexdigest()
