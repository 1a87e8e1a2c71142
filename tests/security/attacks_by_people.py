"""Decisions without a session, by the wrong person, or against the rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from msgspec.structs import replace

from promotion.domain.people import Person
from promotion.links.session import Session
from tests.fakes import session_key
from tests.security.attacked import ANN, AUD, BEN, CHO, DEE, EVE, GIL, Attacked, person
from tests.security.attempts import (
    OPEN,
    QUORUM,
    REVOKE,
    ROLLBACK,
    SHUT,
    VERDICT,
    WHY,
    Attack,
    Try,
    add,
    sign_in_cookie,
    unsalted,
)

ATTACKS: list[Attack] = []
attack = partial(add, ATTACKS)

# Without a session, or with one that is none.


def with_cookie(make: Callable[[Attacked], str]) -> Try:
    """A decision that is right in everything but its cookie."""
    return lambda attacked: attacked.decide(OPEN, ANN, headers={"Cookie": make(attacked)})


def expired(attacked: Attacked) -> str:
    over = Session(id="expired", person=ANN, expires_at=attacked.now() - timedelta(seconds=1))
    return f"session={attacked.sessions.cookie(over)}"


def promoted_to_group(attacked: Attacked) -> str:
    """Eve's signature under Ann's groups."""
    payload = attacked.cookie(ANN).partition("=")[2].rpartition(".")[0]
    return f"session={payload}.{attacked.cookie(EVE).rpartition('.')[2]}"


attack("deciding without a session", 401, lambda h: h.decide(OPEN, None))
attack("reading without a session", 302, lambda h: h.send("GET", h.link(OPEN)))
attack(
    "reading as JSON without a session", 401,
    lambda h: h.send("GET", h.link(OPEN), headers={"Accept": "application/json"}),
)  # fmt: skip
attack("the board without a session", 302, lambda h: h.send("GET", "/"))
attack("rolling back without a session", 401, lambda h: h.post(ROLLBACK, None, WHY))
attack("revoking without a session", 401, lambda h: h.post(REVOKE, None, WHY))
attack("asking again without a session", 401, lambda h: h.post(f"{h.link('rejected:1:dev:1')}/again", None, WHY))


def of_another_key(attacked: Attacked) -> str:
    return session_key().cookie(replace(attacked.session(ANN), expires_at=attacked.now() + timedelta(hours=1)))


def longer_than_sessions_last(attacked: Attacked) -> str:
    return attacked.sessions.cookie(replace(attacked.session(ANN), expires_at=attacked.now() + timedelta(hours=25)))


attack("a session of a year", 401, with_cookie(lambda h: f"session={longer_than_sessions_last(h)}"))
attack("an expired session", 401, with_cookie(expired))
attack(
    "a session of another key", 401,
    with_cookie(lambda h: f"session={of_another_key(h)}"),
)  # fmt: skip
attack("a session with groups put in", 401, with_cookie(promoted_to_group))
attack("a cookie cut short", 401, with_cookie(lambda h: h.cookie(ANN)[:-1]))
attack("a cookie with surplus", 401, with_cookie(lambda h: h.cookie(ANN) + "="))
attack("a cookie without its signature", 401, with_cookie(lambda h: h.cookie(ANN).rpartition(".")[0] + "."))
attack("a cookie of five kilobytes", 401, with_cookie(lambda h: "session=" + "A" * 5000))
attack("a cookie that is no text", 401, with_cookie(lambda h: "session=\xff\xfe"))
attack("a sign-in as a session", 401, with_cookie(lambda h: f"session={sign_in_cookie(h)}"))
attack("an approval token as a session", 401, with_cookie(lambda h: f"session={h.keyring.approval_token(OPEN)}"))
attack("a form token as a session", 401, with_cookie(lambda h: f"session={h.csrf(ANN)}"))
attack("a session signed for no purpose", 401, with_cookie(lambda h: f"session={unsalted(h)}"))
attack(
    "a session under another cookie's name", 401, with_cookie(lambda h: h.cookie(ANN).replace("session", "sessions"))
)
attack(
    "a session as a bearer token", 401,
    lambda h: h.decide(OPEN, ANN, headers={"Cookie": None, "Authorization": f"Bearer {h.cookie(ANN)[8:]}"}),
)  # fmt: skip
attack(
    "a session in the query", 401,
    lambda h: h.post(f"{h.link(OPEN)}?{h.cookie(ANN)}", ANN, VERDICT, headers={"Cookie": None}),
)  # fmt: skip

# With a session, and not the right person.

attack("somebody without a group reads", 403, lambda h: h.send("GET", h.link(OPEN), who=EVE))
attack("somebody without a group reads the board", 403, lambda h: h.send("GET", "/", who=EVE))
attack("somebody without a group approves", 403, lambda h: h.decide(OPEN, EVE))
attack("somebody without a group rejects", 403, lambda h: h.decide(OPEN, EVE, "Rejected"))
attack("somebody in a group of that name", 403, lambda h: h.decide(OPEN, person("mal", "ML approvers, dev", "ML-DEV")))
attack("an auditor approves", 403, lambda h: h.decide(OPEN, AUD))
attack("an auditor rejects", 403, lambda h: h.decide(OPEN, AUD, "Rejected"))
attack("an auditor breaks the glass", 403, lambda h: h.decide(SHUT, AUD, fields={"break_glass": "yes"}))
attack("an auditor asks again", 403, lambda h: h.post(f"{h.link('rejected:1:dev:1')}/again", AUD, WHY))
attack("an auditor rolls back", 403, lambda h: h.post(ROLLBACK, AUD, WHY))
attack("an auditor revokes", 403, lambda h: h.post(REVOKE, AUD, WHY))
attack("another environment's approver approves", 403, lambda h: h.decide(OPEN, CHO))
attack("another environment's approver rejects", 403, lambda h: h.decide(OPEN, CHO, "Rejected"))
attack("another environment's approver rolls back", 403, lambda h: h.post(ROLLBACK, CHO, WHY))
attack("who is on call votes", 403, lambda h: h.decide(QUORUM, GIL))
attack("who is on call rejects", 403, lambda h: h.decide(QUORUM, GIL, "Rejected", fields={"break_glass": "yes"}))
attack("who is on call rolls back", 403, lambda h: h.post(ROLLBACK, GIL, WHY))

# The right person, and the rules say no.

attack("one's own model", 403, lambda h: h.decide(OPEN, DEE))
attack("one's own model, past the glass", 403, lambda h: h.decide(OPEN, DEE, fields={"break_glass": "yes"}))
attack("a model that nobody knows the requester of", 403, lambda h: h.decide("unknown-requester:1:dev:1", ANN))
attack("a model whose artifact is not there", 403, lambda h: h.decide("broken:1:dev:1", ANN))
attack("past a shut gate", 403, lambda h: h.decide(SHUT, ANN))
attack(
    "past a shut gate with a glass that is not theirs",
    403,
    lambda h: h.decide(SHUT, ANN, fields={"break_glass": "yes"}),
)
attack("into a frozen environment", 403, lambda h: h.decide("frozen:1:uat:1", ANN))
attack(
    "into a frozen environment, past the glass",
    403,
    lambda h: h.decide("frozen:1:uat:1", GIL, fields={"break_glass": "yes"}),
)
attack("a second vote by the same person", 409, lambda h: h.decide(QUORUM, ANN))
attack("a second vote under another subject", 409, lambda h: h.decide(QUORUM, _twin()))
attack("what was approved, approved again", 409, lambda h: h.decide("decided:1:dev:1", BEN))
attack("what was approved, rejected", 409, lambda h: h.decide("decided:1:dev:1", BEN, "Rejected"))
attack("what was rejected, approved", 409, lambda h: h.decide("rejected:1:dev:1", BEN))
attack("what was superseded by a newer version", 409, lambda h: h.decide("superseded:1:dev:1", ANN))
attack("the link before it was asked again", 409, lambda h: h.decide("again:1:dev:1", ANN))
attack("what was revoked", 409, lambda h: h.decide("revoked:1:dev:1", ANN))
attack("what expired", 410, lambda h: h.decide("short-lived:1:dev:1", ANN))
attack("what expired, rejected", 410, lambda h: h.decide("short-lived:1:dev:1", ANN, "Rejected"))
attack("reading what expired", 410, lambda h: h.send("GET", h.link("short-lived:1:dev:1"), who=ANN))
attack("asking again while it is open", 409, lambda h: h.post(f"{h.link(OPEN)}/again", ANN, WHY))
attack("asking again once approved", 409, lambda h: h.post(f"{h.link('decided:1:dev:1')}/again", ANN, WHY))
attack("asking again by the old link", 409, lambda h: h.post(f"{h.link('again:1:dev:1')}/again", ANN, WHY))
attack("asking again of somebody else's", 403, lambda h: h.post(f"{h.link('rejected:1:dev:1')}/again", CHO, WHY))
attack("back to nothing", 409, lambda h: h.post("/models/open/dev/rollback", ANN, WHY))
attack("back to what was never live", 403, lambda h: h.post(ROLLBACK, ANN, {**WHY, "to_version": "9"}))
attack("back to what is live", 403, lambda h: h.post(ROLLBACK, ANN, {**WHY, "to_version": "2"}))
attack("revoking twice", 409, lambda h: h.post("/models/revoked/versions/1/revoke", ANN, WHY))


def _twin() -> Person:
    return Person(subject="another", name="Ann", email="ANN@example.com", groups=frozenset({"ml-test"}))
