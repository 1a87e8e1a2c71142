"""A session, and its compact form as plain data, because a cookie has at most 4 KB."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from promotion.domain.people import Authentication, Person

# Beyond this many bytes of ids, groups are stored as digests, which are compared with those of the configured ids.
PLAIN_GROUPS_BYTES = 600
DIGEST_BYTES = 6
_NAME_KEYS = {"email": "e", "preferred_username": "p", "upn": "u", "unique_name": "q", "oid": "o", "name": "n"}


class Session(Struct, frozen=True, kw_only=True):
    """A signed-in person, until `expires_at`. `id` is random and binds CSRF tokens to this session.

    `made_at` is the time of sign-in, and `made_for` the path that the sign-in returned to. `sid` is the provider's
    session id, if its ID token contains one.
    """

    id: str
    person: Person
    expires_at: datetime
    made_at: datetime | None = None
    made_for: str = ""
    sid: str = ""


def session_fields(session: Session) -> dict[str, object]:
    """Return the fields of a session cookie."""
    person = session.person
    groups = sorted(person.groups)
    fields: dict[str, object] = {
        "i": session.id,
        "s": person.subject,
        "n": person.name[:200],
        "m": person.email[:320],
        "e": int(session.expires_at.timestamp()),
    }
    if sum(len(group.encode()) + 3 for group in groups) > PLAIN_GROUPS_BYTES:
        fields["d"] = "".join(digest(group) for group in groups)
    else:
        fields["g"] = groups
    if person.groups_brought is not None:
        fields["c"] = person.groups_brought
    if session.made_at is not None:
        fields["b"] = int(session.made_at.timestamp())
    if session.made_for:
        fields["f"] = session.made_for
    if session.sid:
        fields["o"] = session.sid
    if person.authentication is not None:
        fields["a"] = _authentication_fields(person, person.authentication)
    return fields


def read_session(found: Mapping[str, Any], known: Iterable[str]) -> Session:
    """Read a session from its cookie's content; `known` groups are recognized by digests.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: the content is no session.
    """
    if "d" in found:
        digests = {found["d"][at : at + 8] for at in range(0, len(found["d"]), 8)}
        groups = frozenset(group for group in known if digest(group) in digests)
    else:
        groups = frozenset(found["g"])
    person = Person(
        subject=str(found["s"]),
        name=str(found["n"]),
        email=str(found["m"]),
        groups=groups,
        groups_brought=int(found["c"]) if "c" in found else None,
        authentication=_authentication(found) if "a" in found else None,
    )
    return Session(
        id=str(found["i"]),
        person=person,
        expires_at=datetime.fromtimestamp(found["e"], UTC),
        made_at=_time(found.get("b")),
        made_for=str(found.get("f", "")),
        sid=str(found.get("o", "")),
    )


def digest(group: str) -> str:
    """Return a group's 8-character digest; the cookie is signed, so collisions can't be searched for."""
    return base64.urlsafe_b64encode(hashlib.sha256(group.encode()).digest()[:DIGEST_BYTES]).decode()


def _authentication_fields(person: Person, how: Authentication) -> list[object]:
    same = {person.name: 1, person.email: 2}
    names = {_NAME_KEYS[claim]: same.get(text, text[:320]) for claim, text in how.names.items() if claim in _NAME_KEYS}
    times = [int(time.timestamp()) if time else None for time in (how.issued_at, how.auth_time)]
    return [how.issuer, names, *times, how.acr, list(how.amr)]


def _authentication(found: Mapping[str, Any]) -> Authentication:
    issuer, names, issued_at, auth_time, acr, amr = found["a"]
    same = {1: str(found["n"]), 2: str(found["m"])}
    claims = {key: claim for claim, key in _NAME_KEYS.items()}
    return Authentication(
        issuer=str(issuer),
        subject=str(found["s"]),
        names={claims[key]: same[text] if isinstance(text, int) else str(text) for key, text in names.items()},
        issued_at=_time(issued_at),
        auth_time=_time(auth_time),
        acr=str(acr),
        amr=tuple(str(each) for each in amr),
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
