"""Offline verification of signatures (ECDSA, P-256, SHA-256) with configured public keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from promotion import names
from promotion.errors import Invalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey


def public_keys(source: str) -> tuple[EllipticCurvePublicKey, ...]:
    """The keys in a PEM, or in a file of PEMs; several while a rotation lasts.

    A file is read each time, so that a rotation reaches processes that run for long.

    Raises:
        Invalid: it can't be read, or holds no key of this kind.
    """
    try:
        text = source if "-----BEGIN" in source else Path(source).read_text(encoding="ascii")
    except OSError as error:
        raise Invalid(names.PUBLIC_KEY, f"{source} can't be read: {error.strerror}.") from None
    except ValueError:
        raise Invalid(names.PUBLIC_KEY, f"{source} is no public key in PEM form.") from None
    return _keys_in(text)


@lru_cache(maxsize=32)
def _keys_in(text: str) -> tuple[EllipticCurvePublicKey, ...]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    end = "-----END PUBLIC KEY-----"
    try:
        found = [load_pem_public_key((part + end).encode()) for part in text.split(end)[:-1]]
    except ValueError:
        raise Invalid(names.PUBLIC_KEY, "this is no public key in PEM form.") from None
    keys = tuple(key for key in found if isinstance(key, EllipticCurvePublicKey))
    if not keys:
        raise Invalid(names.PUBLIC_KEY, "there is no P-256 public key in PEM form.")
    return keys


def holds(keys: Sequence[EllipticCurvePublicKey], message: bytes, signature: str) -> bool:
    """Return True if `signature` (base64 of DER) over `message` was made by one of `keys`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    for key in keys:
        try:
            key.verify(raw, message, ECDSA(SHA256()))
        except InvalidSignature:
            continue
        return True
    return False
