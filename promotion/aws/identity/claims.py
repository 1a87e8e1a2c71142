"""Conversion of claims to a person: groups, names, and the method of authentication."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from promotion.config.settings import Identity
from promotion.domain.identifiers import comparable_group
from promotion.domain.people import Authentication, Person
from promotion.errors import SignInFailed
from promotion.formatting import one_line

LONGEST_NAME = 120
# OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
LONGEST_SUBJECT = 255
# Claims that name a person: the standard's claims first, then those of a provider.
NAME_CLAIMS = ("email", "preferred_username", "upn", "unique_name", "oid", "name")
_SHOWN_AS = ("name", "unique_name", "upn", "preferred_username", "email", "sub")
_ADDRESSES = ("email", "preferred_username", "upn", "unique_name")
_MOST_METHODS = 20


def find(claims: Mapping[str, object], name: str) -> object:
    """Return the claim `name`: the claim of that whole name, else the one at a dotted path; None if there is none."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def is_overage(claims: Mapping[str, object], name: str) -> bool:
    """Return True if the token leaves out the groups because there are too many.

    Entra ID does so beyond 200 groups, and sends a claim with the address to read them from.
    https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference#groups-overage-claim
    """
    elsewhere = claims.get("_claim_names")
    return find(claims, name) is None and bool(
        (isinstance(elsewhere, dict) and name in elsewhere) or claims.get("hasgroups")
    )


def wants_userinfo(claims: Mapping[str, object], identity: Identity) -> bool:
    """Return True if the ID token lacks groups, a mail address or a name that the userinfo endpoint may have.

    A UPN alone is not enough, because a requester who is known by a mail address would not be recognized by a UPN.
    """
    return find(claims, identity.groups_claim) is None or "email" not in claims or "name" not in claims


def groups_in(claims: Mapping[str, object], identity: Identity, known: Iterable[str]) -> list[str]:
    """Return all groups in the claims, as text.

    Raises:
        SignInFailed: the groups claim is missing, or is neither a list of texts nor a text.
    """
    name = identity.groups_claim
    found = find(claims, name)
    if found is None:
        if is_overage(claims, name):
            raise SignInFailed(
                "You are in more groups than a token can hold. Ask your administrator to send only the groups assigned "
                "to this application, or app roles; or to have them read from Microsoft Graph ([advanced.identity] graph)."
            )
        raise SignInFailed(
            f"The ID token has no claim “{name}”, and the userinfo endpoint neither. Ask your administrator to add it to this "
            "application's tokens."
        )
    if isinstance(found, str):
        return _groups_of_text(found, identity.groups_separator, known)
    if not isinstance(found, list) or not all(isinstance(group, str) for group in found):
        raise SignInFailed(f"The claim “{name}” is no list of groups. Ask your administrator to look at it.")
    return found


def _groups_of_text(text: str, separator: str | None, known: Iterable[str]) -> list[str]:
    """Split a text into groups: a known group is one; else JSON, `[a, b]`, or parts by the configured separator."""
    if not text.strip():
        return []
    if comparable_group(text) in {comparable_group(each) for each in known}:
        return [text]
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        try:
            listed = json.loads(inner)
        except (ValueError, RecursionError):
            listed = inner[1:-1].split(",")
        if isinstance(listed, list) and all(isinstance(each, str) for each in listed):
            return [each.strip() for each in listed if each.strip()]
    if separator:
        return [each.strip() for each in text.split(separator) if each.strip()]
    return [text]


def known_among(groups: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    """Return the configuration's ids among the groups of a token."""
    brought = {comparable_group(group) for group in groups}
    return frozenset(group for group in known if comparable_group(group) in brought)


def person_of(claims: Mapping[str, object], identity: Identity, known: Iterable[str]) -> Person:
    """Return the person that verified claims describe.

    Raises:
        SignInFailed: the claims don't contain the groups.
    """
    known = frozenset(known)
    groups = groups_in(claims, identity, known)
    addresses = _addresses(claims)
    return Person(
        subject=str(claims["sub"]),
        # The name is used in registry entries, records and mail subjects, so it is one line without bidirectional
        # controls.
        name=next(text for text in (_text(claims, name, LONGEST_NAME) for name in _SHOWN_AS) if text),
        email=addresses[0] if addresses else "",
        # Only the groups that the configuration names, because the size of a cookie is limited.
        groups=known_among(groups, known),
        groups_brought=len(groups),
        authentication=_authentication(claims, identity),
    )


def _authentication(claims: Mapping[str, object], identity: Identity) -> Authentication:
    amr = claims.get("amr")
    methods = [amr] if isinstance(amr, str) else amr if isinstance(amr, list) else []
    acr = claims.get("acr")
    return Authentication(
        issuer=identity.issuer.rstrip("/"),
        subject=str(claims["sub"]),
        names={name: text for name in NAME_CLAIMS if (text := _text(claims, name, LONGEST_SUBJECT))},
        issued_at=_time(claims.get("iat")),
        auth_time=_time(claims.get("auth_time")),
        acr=one_line(str(acr), LONGEST_SUBJECT) if isinstance(acr, str | int) and not isinstance(acr, bool) else "",
        amr=tuple(one_line(each, 80) for each in methods[:_MOST_METHODS] if isinstance(each, str)),
    )


def _addresses(claims: Mapping[str, object]) -> list[str]:
    found = (_text(claims, name, LONGEST_SUBJECT) for name in _ADDRESSES)
    return [text for text in found if "@" in text]


def _text(claims: Mapping[str, object], name: str, longest: int) -> str:
    """Return a claim's text in one line; empty if it is missing, no text, or an unverified mail address."""
    found = claims.get(name)
    if not isinstance(found, str):
        return ""
    if _is_unverified(claims) and _folded(found) == _folded(claims.get("email")):
        return ""
    return one_line(found, longest)


def _folded(text: object) -> str:
    return one_line(str(text), LONGEST_SUBJECT).casefold()


def _is_unverified(claims: Mapping[str, object]) -> bool:
    # Some providers send it as text (OpenID Connect Core 1.0, section 5.1, requires a boolean).
    return str(claims.get("email_verified")).casefold() == "false"


def _time(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None
