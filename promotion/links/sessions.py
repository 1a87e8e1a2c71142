"""Sessions: signed by who signs people in, and by nobody else. Everybody else has the public key.

itsdangerous makes and reads the cookie; the signature is ECDSA on P-256 with SHA-256.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.signer import SigningAlgorithm
from msgspec import Struct

from promotion.client.signature import holds, public_keys
from promotion.domain.model import Person

LONGEST_COOKIE = 3072
# Whatever the configuration says.
LONGEST_SESSION = timedelta(hours=24)
# What the session key signs is a session and nothing else.
_PURPOSE = b"promotion.session\0"


class Session(Struct, frozen=True, kw_only=True):
    """A signed-in person, until `expires_at`. `id` is random and binds CSRF tokens to this session."""

    id: str
    person: Person
    expires_at: datetime


class _Ecdsa(SigningAlgorithm):
    """The signature of a session: `sign` is None where only the public keys are known."""

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
    """Reads session cookies by the public keys in `pem`, several while a rotation lasts; makes them where it may `sign`."""

    def __init__(
        self, pem: str, sign: Callable[[bytes], bytes] | None = None, *, longest: timedelta = LONGEST_SESSION
    ) -> None:
        self.pem, self.sign = pem, sign
        self._longest = longest
        # The key that itsdangerous derives is not used: the algorithm has its own.
        self.serializer: URLSafeSerializer = URLSafeSerializer(
            "", salt="promotion.session", signer_kwargs={"key_derivation": "none", "algorithm": _Ecdsa(pem, sign)}
        )

    def cookie(self, session: Session) -> str:
        """The value of the session cookie: signed, not secret.

        Raises:
            ValueError: it would be larger than browsers keep.
        """
        value = str(
            self.serializer.dumps(
                {
                    "i": session.id,
                    "s": session.person.subject,
                    "n": session.person.name[:200],
                    "m": session.person.email[:320],
                    "g": sorted(session.person.groups),
                    "e": int(session.expires_at.timestamp()),
                }
            )
        )
        if len(value) > LONGEST_COOKIE:
            raise ValueError("the session cookie would be larger than 3 KB; the person is in too many known groups.")
        return value

    def session(self, cookie: str, *, now: datetime) -> Session | None:
        """The session in a cookie, or None where it is forged, damaged or over."""
        if len(cookie) > LONGEST_COOKIE or not all(_is_canonical(part) for part in cookie.lstrip(".").split(".")):
            return None
        try:
            found = self.serializer.loads(cookie)
            session = Session(
                id=str(found["i"]),
                person=Person(
                    subject=str(found["s"]), name=str(found["n"]), email=str(found["m"]), groups=frozenset(found["g"])
                ),
                expires_at=datetime.fromtimestamp(found["e"], UTC),
            )
        except (BadData, KeyError, TypeError, ValueError, OverflowError):
            return None
        return session if now < session.expires_at <= now + self._longest else None


def _is_canonical(text: str) -> bool:
    """Whether base64 has only one way to say these bytes, and this is it."""
    try:
        return base64_encode(base64_decode(text)).decode("ascii") == text
    except (BadData, UnicodeEncodeError):
        return False
