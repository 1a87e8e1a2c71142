"""Session cookies. Only the sign-in function signs them; all other functions have only the public key.

itsdangerous makes and reads the cookie; the signature is ECDSA on P-256 with SHA-256.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.signer import SigningAlgorithm

from promotion.client.signature import holds, public_keys
from promotion.links.session import Session, read_session, session_fields
from promotion.links.tokens import is_canonical

LONGEST_COOKIE = 3072
# The maximum, for any configuration.
LONGEST_SESSION = timedelta(hours=24)
# Allowed difference between the clocks of two functions.
_CLOCKS_APART = timedelta(minutes=1)
# The session key signs sessions and nothing else.
_PURPOSE = b"promotion.session\0"


class _Ecdsa(SigningAlgorithm):
    """The signature algorithm of sessions; `sign` is None if only the public keys are known."""

    def __init__(self, pem: str, sign: Callable[[bytes], bytes] | None) -> None:
        self._pem = pem
        self._sign = sign

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        if self._sign is None:
            raise PermissionError("sessions are made by sign_in alone.")
        return self._sign(_PURPOSE + value)

    def verify_signature(self, key: bytes, value: bytes, sig: bytes) -> bool:
        return holds(public_keys(self._pem), _PURPOSE + value, base64.b64encode(sig).decode())


class Sessions:
    """Verify session cookies with the public keys in `pem` (several during a rotation); with `sign`, also make them."""

    def __init__(
        self, pem: str, sign: Callable[[bytes], bytes] | None = None, *, longest: timedelta = LONGEST_SESSION
    ) -> None:
        """Read sessions with the public keys of the sign-in function."""
        self.pem, self.sign = pem, sign
        self._longest = longest
        # itsdangerous derives no key, because the signature algorithm has its own.
        self.serializer: URLSafeSerializer = URLSafeSerializer(
            "", salt="promotion.session", signer_kwargs={"key_derivation": "none", "algorithm": _Ecdsa(pem, sign)}
        )

    def cookie(self, session: Session) -> str:
        """Return the value of the session cookie: signed, not encrypted.

        Raises:
            ValueError: the cookie would be larger than browsers store.
        """
        value = str(self.serializer.dumps(session_fields(session)))
        if len(value) > LONGEST_COOKIE:
            raise ValueError("the session cookie would be larger than 3 KB; the person is in too many known groups.")
        return value

    def session(self, cookie: str, *, now: datetime, known: Iterable[str] = ()) -> Session | None:
        """Return the session in a cookie; None if it is forged, damaged, expired or too long."""
        if len(cookie) > LONGEST_COOKIE or not all(is_canonical(part) for part in cookie.lstrip(".").split(".")):
            return None
        try:
            session = read_session(self.serializer.loads(cookie), known)
        except (BadData, KeyError, TypeError, ValueError, OverflowError):
            return None
        begun = min(now, session.made_at or now)
        return session if now < session.expires_at <= begun + self._longest + _CLOCKS_APART else None
