"""Logout tokens: the provider's signed notice that a person's sessions have ended.

OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6: https://openid.net/specs/openid-connect-backchannel-1_0.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from promotion.aws.identity.claims import LONGEST_SUBJECT
from promotion.errors import SignInFailed

EVENT = "http://schemas.openid.net/event/backchannel-logout"
# A token's id is stored for longer, so that no token is accepted twice; by the standard it expires within two minutes.
LONGEST_AGE = timedelta(hours=1)
CLOCK_SKEW_S = 60
_KINDS = ("jwt", "logout+jwt")


class Logout(Struct, frozen=True, kw_only=True):
    """The sessions that a logout token ends: the session `sid`, or without it every session of `subject`."""

    token_id: str
    subject: str = ""
    sid: str = ""


def logout_of(
    header: Mapping[str, object], claims: Mapping[str, object], *, issuer: str, client_id: str, now: datetime
) -> Logout:
    """Check a logout token whose signature was verified.

    Raises:
        SignInFailed: it is no logout token, is for another application, or has expired.
    """
    if str(header.get("typ", "jwt")).lower().removeprefix("application/") not in _KINDS:
        raise SignInFailed("The logout token says that it is of another kind (typ).")
    audience = claims.get("aud")
    if claims.get("iss") != issuer:
        raise SignInFailed("The logout token comes from another issuer.")
    if client_id not in ([audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []):
        raise SignInFailed("The logout token was made for another application.")
    _check_times(claims, now.timestamp())
    if (token_id := _text(claims, "jti")) == "":
        raise SignInFailed("The logout token has no id (jti).")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise SignInFailed("The token announces no back-channel logout (events).")
    # An ID token has a nonce; it must not be accepted as a logout token.
    if "nonce" in claims:
        raise SignInFailed("A logout token has no nonce.")
    logout = Logout(token_id=token_id, subject=_text(claims, "sub"), sid=_text(claims, "sid"))
    if not logout.subject and not logout.sid:
        raise SignInFailed("The logout token names neither a person (sub) nor a session (sid).")
    return logout


def _check_times(claims: Mapping[str, object], moment: float) -> None:
    issued: Any = claims.get("iat")
    expires: Any = claims.get("exp", moment)
    if not is_number(issued):
        raise SignInFailed("The logout token doesn't say when it was issued (iat).")
    if issued > moment + CLOCK_SKEW_S:
        raise SignInFailed("The logout token is not valid yet; is a clock wrong?")
    if not is_number(expires) or moment > expires + CLOCK_SKEW_S:
        raise SignInFailed("The logout token has expired.")
    if moment - issued > LONGEST_AGE.total_seconds():
        raise SignInFailed("The logout token is too old.")


def is_number(value: object) -> bool:
    """Return True for a JSON number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(claims: Mapping[str, object], name: str) -> str:
    """Return a claim's text; empty if it is missing, no text, or too long."""
    found = claims.get(name)
    return found if isinstance(found, str) and len(found) <= LONGEST_SUBJECT else ""
