"""Signed tokens that browsers hold: approval links, CSRF tokens, sign-in state. Session cookies are in sessions.py.

Each kind has its own keys and salt, so that a token can't be used as one of another kind. The newest key signs and all
keys verify, so that a rotation signs nobody out:
https://itsdangerous.palletsprojects.com/en/stable/concepts/#key-rotation.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from itsdangerous import BadData, BadSignature, Signer, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode
from msgspec import Struct

from promotion.errors import LinkInvalid
from promotion.links.session import Session

LONGEST_TOKEN = 512
LONGEST_COOKIE = 3072
LONGEST_KEPT = 3800


class SignIn(Struct, frozen=True, kw_only=True):
    """A sign-in in progress: the values that the callback must match, and the path to return to."""

    state: str
    nonce: str
    verifier: str
    return_to: str
    expires_at: datetime


class Keyring:
    """The signing keys, newest first.

    If no known key verifies a token, `newer` is called for the current keys, because another function may have seen a
    rotation before this one.

    Raises:
        ValueError: there is no key.
    """

    def __init__(self, keys: Sequence[str], newer: Callable[[], Sequence[str]] = tuple) -> None:
        """Make a keyring.

        Args:
            keys: Signing keys; the first one signs, all of them verify.
            newer: Reads the current keys, after a signature that no known key made.

        Raises:
            ValueError: `keys` is empty.
        """
        if not keys:
            raise ValueError("at least one signing key is needed.")
        # itsdangerous signs with the last key and verifies with any.
        self._keys = list(reversed(keys))
        self._newer = newer

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._keys,
            salt=f"promotion.{purpose}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def _signer(self, purpose: str) -> Signer:
        return Signer(self._keys, salt=f"promotion.{purpose}", key_derivation="hmac", digest_method=hashlib.sha256)

    def approval_token(self, request_id: str) -> str:
        """Return the token of an approval link. It holds the request's id only; its expiry is in the ledger."""
        return _text(self._serializer("approval-link").dumps(request_id))

    def request_of(self, token: str) -> str:
        """Return the request id in a token.

        Raises:
            LinkInvalid: the token is forged, damaged, truncated, or made for another purpose.
        """
        found = self._loads("approval-link", token, LONGEST_TOKEN)
        # A request must have one valid link for each key, so compressed or differently encoded JSON is refused.
        if not isinstance(found, str) or token.rpartition(".")[0] != self.approval_token(found).rpartition(".")[0]:
            raise LinkInvalid
        return found

    def sign_in_cookie(self, sign_in: SignIn) -> str:
        """Return the value of the cookie that holds a sign-in while the person is at the provider."""
        return _text(
            self._serializer("sign-in").dumps(
                [
                    sign_in.state,
                    sign_in.nonce,
                    sign_in.verifier,
                    sign_in.return_to,
                    int(sign_in.expires_at.timestamp()),
                ]
            )
        )

    def sign_in(self, cookie: str, *, now: datetime) -> SignIn | None:
        """Return the sign-in in a cookie; None if the cookie is forged, damaged or expired."""
        found = self._loads("sign-in", cookie, LONGEST_COOKIE)
        try:
            state, nonce, verifier, return_to, expires = found
            sign_in = SignIn(
                state=state,
                nonce=nonce,
                verifier=verifier,
                return_to=return_to,
                expires_at=datetime.fromtimestamp(expires, UTC),
            )
        except (TypeError, ValueError):
            return None
        return sign_in if now < sign_in.expires_at else None

    def sign_in_state(self, return_to: str) -> str:
        """Return a state for a sign-in, from which its return path can be read even without its cookie."""
        kept = return_to if len(return_to) <= LONGEST_TOKEN else "/"
        return _text(self._serializer("sign-in-state").dumps([secrets.token_urlsafe(24), kept]))

    def returns_to(self, state: str) -> str | None:
        """Return the path to go to after the sign-in; None if the state was not signed here."""
        found = self._loads("sign-in-state", state, LONGEST_COOKIE)
        try:
            _, return_to = found
        except (TypeError, ValueError):
            return None
        return safe_return(return_to) if isinstance(return_to, str) else None

    def kept_form(self, fields: Mapping[str, str], until: datetime) -> str:
        """Return a form for a browser to keep while its person signs in again: signed, not encrypted."""
        return _text(self._serializer("kept-form").dumps([int(until.timestamp()), dict(fields)]))

    def form_kept(self, cookie: str, *, now: datetime) -> dict[str, str]:
        """Return the fields of a kept form; none if it is forged, damaged or expired."""
        found = self._loads("kept-form", cookie, LONGEST_KEPT)
        try:
            until, fields = found
            return {str(name): str(value) for name, value in fields.items()} if now.timestamp() < until else {}
        except (AttributeError, TypeError, ValueError):
            return {}

    def csrf_token(self, session: Session) -> str:
        """Return the token that a form must send back; valid only for this session."""
        return self._signer("csrf").get_signature(session.id).decode()

    def csrf_is_good(self, session: Session, token: str) -> bool:
        """Return True if a form came from a page of this session."""
        if not token or len(token) > LONGEST_TOKEN or not is_canonical(token):
            return False
        return any(self._signer("csrf").verify_signature(session.id, token) for _ in self._tries())

    def _loads(self, purpose: str, value: str, longest: int) -> Any:
        """Return the value that was signed for `purpose`, or None."""
        # Text without a signature, such as a missing cookie, must not cause the keys to be read again.
        if (
            "." not in value
            or len(value) > longest
            or not all(is_canonical(part) for part in value.lstrip(".").split("."))
        ):
            return None
        for _ in self._tries():
            try:
                return self._serializer(purpose).loads(value)
            except BadSignature:
                continue
        return None

    def _tries(self) -> Iterator[None]:
        """Yield once for the known keys, and a second time after reading other, newer keys."""
        yield
        newer = list(reversed(self._newer()))
        if newer and newer != self._keys:
            self._keys = newer
            yield


def claimed_request_of(token: str) -> str:
    """Return the request id in a token without verifying it; it must not be used for authorization.

    Raises:
        LinkInvalid: the token contains no request id.
    """
    _, found = URLSafeSerializer("").loads_unsafe(token) if len(token) <= LONGEST_TOKEN else (False, None)
    if not isinstance(found, str):
        raise LinkInvalid
    return found


def is_canonical(text: str) -> bool:
    """Return True if this is the canonical base64 of its bytes; decoders accept surplus bits and other characters."""
    try:
        return base64_encode(base64_decode(text)).decode("ascii") == text
    except (BadData, UnicodeEncodeError):
        return False


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("ascii")


def safe_return(path: str | None) -> str:
    r"""Return the path to redirect to after sign-in: one on this service, or else the board.

    Browsers interpret `//host` and `/\host` as other sites.
    """
    if not path or not path.startswith("/") or path[1:2] in ("/", "\\") or len(path) > 1024:
        return "/"
    # Only printable ASCII is allowed in a header.
    if any(not 0x21 <= ord(character) <= 0x7E or character == "\\" for character in path):
        return "/"
    return path
