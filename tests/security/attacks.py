"""The adversarial cases: who tries what, and the code that it has to end with. None of them may change anything.

tests/security/test_attacks.py runs them one by one, benchmarks/approver.py counts them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from itsdangerous import URLSafeSerializer
from msgspec.structs import replace

from promotion.aws.caller_identity import PROOF_HEADER, prove
from promotion.domain.people import Person
from promotion.links.session import Session
from promotion.links.tokens import Keyring, SignIn
from tests.fakes import session_key
from tests.identity.provider import STRANGER as STRANGERS_KEY
from tests.identity.provider import signed
from tests.security.house import ANN, AUD, BEN, CHO, DEE, EVE, GIL, Answer, House, person

OPEN, SHUT, QUORUM = "open:1:dev:1", "shut:1:test:1", "quorum:1:test:1"
ROLLBACK, REVOKE = "/models/two/dev/rollback", "/models/open/versions/1/revoke"
WHY = {"reason": "Because."}
VERDICT = {"verdict": "Approved", "reason": "Because."}
STRANGER = "somebody else's key, long enough to be one of ours"
JSON = {"Content-Type": "application/json"}

Try = Callable[[House], Answer]


@dataclass(frozen=True)
class Attack:
    name: str
    status: int
    attempt: Try
    # Refused by API Gateway itself, before any function of ours: without our headers.
    by_gateway: bool = False


ATTACKS: list[Attack] = []


def attack(name: str, status: int, attempt: Try, *, by_gateway: bool = False) -> None:
    assert name not in {each.name for each in ATTACKS}, name
    ATTACKS.append(Attack(name, status, attempt, by_gateway))


def not_expired(answer: Answer) -> Answer:
    """An answer that leaves the browser its session."""
    assert "set-cookie" not in answer.headers
    return answer


# Without a session, or with one that is none.


def with_cookie(make: Callable[[House], str]) -> Try:
    """A decision that is right in everything but its cookie."""
    return lambda house: house.decide(OPEN, ANN, headers={"Cookie": make(house)})


def expired(house: House) -> str:
    over = Session(id="expired", person=ANN, expires_at=house.now() - timedelta(seconds=1))
    return f"session={house.sessions.cookie(over)}"


def promoted_to_group(house: House) -> str:
    """Eve's signature under Ann's groups."""
    payload = house.cookie(ANN).partition("=")[2].rpartition(".")[0]
    return f"session={payload}.{house.cookie(EVE).rpartition('.')[2]}"


def sign_in_cookie(house: House) -> str:
    sign_in = SignIn(state="s", nonce="n", verifier="v", return_to="/", expires_at=house.far)
    return house.sign_in_keys.sign_in_cookie(sign_in)


def unsalted(house: House) -> str:
    """Signed with the right key, for nothing in particular."""
    return str(URLSafeSerializer(house.link_keys()[0]).dumps({"s": "ann", "g": ["ml-dev"], "e": 9_999_999_999}))


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


def of_another_key(house: House) -> str:
    return session_key().cookie(replace(house.session(ANN), expires_at=house.now() + timedelta(hours=1)))


def longer_than_sessions_last(house: House) -> str:
    return house.sessions.cookie(replace(house.session(ANN), expires_at=house.now() + timedelta(hours=25)))


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


# Forms from elsewhere.

attack("no form token", 403, lambda h: h.decide(OPEN, ANN, csrf=None))
attack("an empty form token", 403, lambda h: h.decide(OPEN, ANN, csrf=""))
attack("somebody else's form token", 403, lambda h: h.decide(OPEN, ANN, csrf=h.csrf(BEN)))
attack(
    "a form token of another key",
    403,
    lambda h: h.decide(OPEN, ANN, csrf=Keyring([STRANGER]).csrf_token(h.session(ANN))),
)
attack("a form token cut short", 403, lambda h: h.decide(OPEN, ANN, csrf=h.csrf(ANN)[:-1]))
attack("an approval token as form token", 403, lambda h: h.decide(OPEN, ANN, csrf=h.keyring.approval_token(OPEN)))
attack(
    "the session's signature as form token", 403, lambda h: h.decide(OPEN, ANN, csrf=h.cookie(ANN).rpartition(".")[2])
)
attack(
    "a form token in the query alone",
    403,
    lambda h: h.post(f"{h.link(OPEN)}?csrf={h.csrf(ANN)}", ANN, VERDICT, csrf=None),
)


def from_origin(**headers: str) -> Try:
    return lambda house: house.decide(
        OPEN, ANN, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


attack("from another origin", 403, from_origin(Origin="https://evil.example"))
attack("from no origin that has a name", 403, from_origin(Origin="null"))
attack(
    "from our host over another scheme",
    403,
    lambda h: h.decide(OPEN, ANN, headers={"Origin": h.service.url.replace("http", "https")}),
)
attack("from our host on another port", 403, from_origin(Origin="http://127.0.0.1:1"))
attack(
    "from a host that begins as ours",
    403,
    lambda h: h.decide(OPEN, ANN, headers={"Origin": f"{h.service.url}.evil.example"}),
)
attack("from no origin and another site", 403, from_origin(Origin="null", Sec_Fetch_Site="cross-site"))
attack("from no origin and a neighbour", 403, from_origin(Origin="null", Sec_Fetch_Site="same-site"))
attack("from no origin and nowhere", 403, from_origin(Origin="null", Sec_Fetch_Site="none"))
attack("from another site, as the browser says", 403, from_origin(Sec_Fetch_Site="cross-site"))
attack("from a neighbour of our site", 403, from_origin(Sec_Fetch_Site="same-site"))
attack("rolling back without a form token", 403, lambda h: h.post(ROLLBACK, ANN, WHY, csrf=None))
attack("revoking without a form token", 403, lambda h: h.post(REVOKE, ANN, WHY, csrf=None))
attack(
    "revoking from another origin", 403, lambda h: h.post(REVOKE, ANN, WHY, headers={"Origin": "https://evil.example"})
)
attack(
    "asking again without a form token",
    403,
    lambda h: h.post(f"{h.link('rejected:1:dev:1')}/again", ANN, WHY, csrf=None),
)
for named, who in (("who is signed in", ANN), ("who brings no cookie, as by another site's form", None)):
    for origin, said in (
        ("another site", {"Origin": "https://evil.example"}),
        ("a page that names no origin", {"Origin": "null", "Sec-Fetch-Site": "cross-site"}),
        ("nowhere", {"Origin": None}),
    ):
        attack(
            f"signing out {named} from {origin}", 403,
            lambda h, who=who, said=said: not_expired(h.post("/logout", who, headers=said)),  # type: ignore[misc]
        )  # fmt: skip

# Tokens.


def with_token(make: Callable[[House], str]) -> Try:
    return lambda house: house.post(f"/approvals/{make(house)}", ANN, VERDICT)


def spliced(house: House) -> str:
    """One request under another's signature."""
    one, other = house.keyring.approval_token(OPEN), house.keyring.approval_token(QUORUM)
    return f"{one.rpartition('.')[0]}.{other.rpartition('.')[2]}"


def other_spelling(house: House) -> str:
    """The same bytes: the last character of a signature has two bits to spare."""
    token = house.keyring.approval_token(OPEN)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


attack("a token of another key", 404, with_token(lambda h: Keyring([STRANGER]).approval_token(OPEN)))
attack("a token made up", 404, with_token(lambda h: "bm9uc2Vuc2U.bm9uc2Vuc2U"))
attack("a token cut short", 404, with_token(lambda h: h.keyring.approval_token(OPEN)[:-1]))
attack("a token cut in half", 404, with_token(lambda h: h.keyring.approval_token(OPEN)[:20]))
attack("a token with surplus", 404, with_token(lambda h: h.keyring.approval_token(OPEN) + "A"))
attack("a token with padding", 404, with_token(lambda h: h.keyring.approval_token(OPEN) + "%3D"))
attack("a token in another spelling", 404, with_token(other_spelling))
attack("another request under this signature", 404, with_token(spliced))
attack("a session as a token", 404, with_token(lambda h: h.cookie(ANN).partition("=")[2]))
attack("a sign-in as a token", 404, with_token(sign_in_cookie))
attack("a form token as a token", 404, with_token(lambda h: h.csrf(ANN)))
attack("a token signed for no purpose", 404, with_token(unsalted))
attack("a token of an unknown model", 404, with_token(lambda h: h.keyring.approval_token("nothing:1:dev:1")))
attack("a token of an unknown version", 404, with_token(lambda h: h.keyring.approval_token("open:99:dev:1")))
attack(
    "a token of an environment not asked for yet", 404, with_token(lambda h: h.keyring.approval_token("open:1:uat:1"))
)
attack("a token of an attempt to come", 404, with_token(lambda h: h.keyring.approval_token("open:1:dev:2")))
attack("a token of attempt nought", 404, with_token(lambda h: h.keyring.approval_token("open:1:dev:0")))
attack("a token of no request at all", 404, with_token(lambda h: h.keyring.approval_token("open")))
attack("reading by a forged token", 404, lambda h: h.send("GET", f"/approvals/{spliced(h)}", who=ANN))
attack("asking again by a forged token", 404, lambda h: h.post(f"/approvals/{spliced(h)}/again", ANN, WHY))
attack("a token of two kilobytes", 404, with_token(lambda h: "A" * 2000))

# Bodies.


def with_body(body: str | bytes, **headers: str) -> Try:
    """A body as it is; `CSRF` in it stands for a good form token."""
    made = {key.replace("_", "-"): value for key, value in headers.items()}

    def attempt(house: House) -> Answer:
        raw = body.encode() if isinstance(body, str) else body
        return house.send(
            "POST", house.link(OPEN), who=ANN, body=raw.replace(b"CSRF", house.csrf(ANN).encode()), headers=made
        )

    return attempt


def with_fields(**fields: str) -> Try:
    return lambda house: house.post(house.link(OPEN), ANN, {**VERDICT, **fields})


attack("no body", 400, with_body(""))
attack("no verdict", 400, lambda h: h.post(h.link(OPEN), ANN, WHY))
attack("a verdict in small letters", 400, with_fields(verdict="approved"))
attack("a verdict with a space", 400, with_fields(verdict="Approved "))
attack("a verdict that is a status", 400, with_fields(verdict="PendingManualApproval"))
attack("two verdicts", 400, with_body("verdict=Rejected&verdict=Approved&reason=x&csrf=CSRF"))
attack("a verdict of a megabyte", 413, with_fields(verdict="A" * (1 << 20)))
attack("a reason of a megabyte", 413, with_fields(reason="A" * (1 << 20)))
attack("a body one byte too large", 413, with_body("reason=" + "A" * ((64 << 10) - 6)))
attack("no reason", 400, with_fields(reason=""))
attack("a reason of spaces", 400, with_fields(reason=" \n\t "))
attack("a reason of three kilobytes", 400, with_fields(reason="A" * 3000))
attack("a reason with a control character", 400, with_fields(reason="Fine\x00"))
attack("a reason that is not UTF-8", 400, with_body("verdict=Approved&reason=%FF%FE&csrf=CSRF"))
attack("a reason with half a character", 400, with_body("verdict=Approved&reason=%ED%A0%80&csrf=CSRF"))
attack(
    "half a character in JSON", 400, with_body('{"verdict": "Approved", "reason": "\\ud800", "csrf": "CSRF"}', **JSON)
)
attack("a list as JSON", 400, with_body('["Approved"]', **JSON))
attack("an object for a verdict", 400, with_body('{"verdict": {"a": 1}, "reason": "x", "csrf": "CSRF"}', **JSON))
attack("true for a verdict", 400, with_body('{"verdict": true, "reason": "x", "csrf": "CSRF"}', **JSON))
attack("JSON without end", 400, with_body("[" * 60_000, **JSON))
attack("JSON cut short", 400, with_body('{"verdict": "Approved"', **JSON))
attack("JSON in a form's clothes", 400, with_body('{"verdict": "Approved", "reason": "x", "csrf": "CSRF"}'))
attack("a thousand fields", 400, with_body(urlencode({f"f{n}": "" for n in range(1000)})))
attack(
    "a form in parts",
    400,
    with_body("--x\r\n\r\nApproved\r\n--x--", **{"Content-Type": "multipart/form-data; boundary=x"}),
)
attack("bytes", 400, with_body(b"\xff\xfe\x00\x01"))
attack("a rollback without a reason", 400, lambda h: h.post(ROLLBACK, ANN, {"to_version": "1"}))
attack("a rollback to a word", 400, lambda h: h.post(ROLLBACK, ANN, {**WHY, "to_version": "latest"}))
attack("a revocation without a reason", 400, lambda h: h.post(REVOKE, ANN, {}))
attack(
    "asking again without saying what has changed",
    400,
    lambda h: h.post(f"{h.link('rejected:1:dev:1')}/again", ANN, {}),
)

# Hosts, paths and methods.

EVIL_HOST = {"Host": "evil.example"}
attack("a foreign host", 400, lambda h: h.send("GET", h.link(OPEN), who=ANN, headers=EVIL_HOST))
attack("deciding at a foreign host", 400, lambda h: h.decide(OPEN, ANN, headers=EVIL_HOST))
attack("signing in at a foreign host", 400, lambda h: h.send("GET", "/login", headers=EVIL_HOST))
attack("coming back to a foreign host", 400, lambda h: h.send("GET", "/callback?code=x&state=y", headers=EVIL_HOST))
attack(
    "a host that begins as ours",
    400,
    lambda h: h.send("GET", "/", who=ANN, headers={"Host": h.service.url[7:] + ".evil"}),
)
attack("an unknown model", 404, lambda h: h.send("GET", "/models/nothing", who=ANN))
attack("a model with dots", 404, lambda h: h.send("GET", "/models/..%2F..%2Fetc", who=ANN))
attack("a path that climbs", 404, lambda h: h.send("GET", "/models/../../etc/passwd", who=ANN), by_gateway=True)
attack("a style sheet that climbs", 404, lambda h: h.send("GET", "/static/..%2Fpromotion.toml"))
attack("a file of ours", 404, lambda h: h.send("GET", "/static/config.py"))
attack("a version below nought", 404, lambda h: h.send("GET", "/models/open/versions/-1", who=ANN))
attack("a version in other digits", 404, lambda h: h.send("GET", "/models/open/versions/%D9%A1", who=ANN))
attack("a version beyond counting", 404, lambda h: h.send("GET", "/models/open/versions/99999999999", who=ANN))
attack("rolling back an unknown environment", 404, lambda h: h.post("/models/two/moon/rollback", ANN, WHY))
attack("revoking an unknown version", 404, lambda h: h.post("/models/open/versions/99/revoke", ANN, WHY))
attack("revoking a word", 404, lambda h: h.post("/models/open/versions/all/revoke", ANN, WHY))
attack("revoking of an unknown model", 404, lambda h: h.post("/models/nothing/versions/1/revoke", ANN, WHY))
attack("deciding by PUT", 404, lambda h: h.send("PUT", h.link(OPEN), who=ANN, body=urlencode(VERDICT)), by_gateway=True)
attack("deciding by DELETE", 404, lambda h: h.send("DELETE", h.link(OPEN), who=ANN), by_gateway=True)
attack("rolling back by GET", 404, lambda h: h.send("GET", f"{ROLLBACK}?reason=x", who=ANN), by_gateway=True)
attack("signing out by GET", 404, lambda h: h.send("GET", "/logout", who=ANN), by_gateway=True)
attack(
    "a method in a header", 403,
    lambda h: h.send("POST", h.link(OPEN), who=ANN, body=urlencode(VERDICT), headers={"X-HTTP-Method-Override": "GET"}),
)  # fmt: skip

# Signing in.


# The cookie of the sign-in whose state is "s".
SIGN_IN_COOKIE = f"sign-in-{hashlib.sha256(b's').hexdigest()[:16]}"


def callback(query: str, cookie: Callable[[House], str] | None = None) -> Try:
    return lambda house: house.send(
        "GET", f"/callback?{query}", headers={"Cookie": f"{SIGN_IN_COOKIE}={cookie(house)}" if cookie else None}
    )


def late(house: House) -> str:
    over = datetime.now(UTC) - timedelta(seconds=1)
    return house.sign_in_keys.sign_in_cookie(SignIn(state="s", nonce="n", verifier="v", return_to="/", expires_at=over))


attack("coming back from a sign-in that was never begun", 403, callback("code=x&state=s"))
attack("coming back with another state", 403, callback("code=x&state=other", sign_in_cookie))
attack("coming back without a state", 403, callback("code=x", sign_in_cookie))
attack("coming back with two states", 403, callback("code=x&state=other&state=s", sign_in_cookie))
attack("coming back with half a character", 403, callback("code=x&state=%ED%A0%80", sign_in_cookie))
attack("coming back too late", 403, callback("code=x&state=s", late))
attack("coming back with a code of one's own", 403, callback("code=made-up&state=s", sign_in_cookie))
attack("coming back without a code", 403, callback("state=s", sign_in_cookie))
attack(
    "coming back with markup",
    403,
    callback("state=s&error_description=%3Cscript%3Ealert(1)%3C/script%3E", sign_in_cookie),
)
attack("a session as a sign-in", 403, callback("code=x&state=s", lambda h: h.cookie(ANN).partition("=")[2]))

# Ending other people's sessions.


def logging_out(token: str | None) -> Try:
    body = urlencode({"logout_token": token}) if token is not None else ""
    return lambda house: house.send("POST", "/backchannel-logout", body=body, headers={"Origin": None})


def made_up_logout(house: House) -> str:
    claims = {
        "iss": house.service.idp_url,
        "aud": "promotion",
        "iat": int(datetime.now(UTC).timestamp()),
        "jti": "x",
        "sub": "ann",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    return signed(claims, STRANGERS_KEY, {"typ": "logout+jwt"})


attack("a logout without a token", 400, logging_out(None))
attack("a logout by a word", 400, logging_out("ann"))
attack("a logout by a session", 400, lambda h: logging_out(h.cookie(ANN).partition("=")[2])(h))
attack("a logout by a stranger's token", 400, lambda h: logging_out(made_up_logout(h))(h))
attack(
    "a logout with two tokens",
    400,
    lambda h: h.send("POST", "/backchannel-logout", body="logout_token=a&logout_token=b"),
)
attack("a logout at a foreign host", 400, lambda h: h.send("POST", "/backchannel-logout", headers=EVIL_HOST))
attack("a logout by GET", 404, lambda h: h.send("GET", "/backchannel-logout?logout_token=x", who=ANN))

# Commands.


def command(document: Any, role: str | None = None) -> Try:
    """POST /operations, signed by the administrator, or by the role of one of the functions."""

    def attempt(house: House) -> Answer:
        credentials = ReadOnlyCredentials("test", "test", None)
        if role is not None:
            given = house.service.role_session(role).credentials
            credentials = ReadOnlyCredentials(*(str(value) for value in given.values()))
        url = f"{house.service.url}/operations"
        body = document if isinstance(document, str) else json.dumps(document)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", house.service.aws_url)
            proof = prove(credentials, "us-east-1", body.encode(), house.service.url)
        headers = {"Content-Type": "application/json", "Host": house.service.url[7:], PROOF_HEADER: proof}
        signed = AWSRequest("POST", url, data=body, headers=headers)
        SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(signed)
        return house.send("POST", "/operations", body=body, headers={"Origin": None, **dict(signed.headers)})

    return attempt


PACKAGES = "arn:aws:sagemaker:us-east-1:123456789012:model-package"
REVOCATION = {"operation": "revoke", "group": "open", "version": "1", "reason": "x"}
UNSIGNED = json.dumps(REVOCATION)
attack("a command without a signature", 403, lambda h: h.send("POST", "/operations", body=UNSIGNED), by_gateway=True)
attack(
    "a command with a session", 403, lambda h: h.send("POST", "/operations", who=ANN, body=UNSIGNED), by_gateway=True
)
attack("a command by a function's role", 403, command(REVOCATION, "web"), by_gateway=True)
attack("a command to approve", 400, command({"operation": "approve", "group": "open", "version": "1", "reason": "x"}))
REPORT = {"operation": "report", "group": "open", "environment": "dev", "version": "1", "metrics": '{"rougeL": 0.99}'}
attack("a report by a function's role", 403, command(REPORT, "web"), by_gateway=True)
attack("a report of what nobody approved", 403, command(REPORT))
attack("a report without numbers", 400, command({**REPORT, "metrics": "0.99"}))
attack("a report of another version's numbers", 400, command({**REPORT, "metrics": '{"model_package_version": 2}'}))
attack("a report of a version that isn't there", 404, command({**REPORT, "version": "999"}))
attack("a report above what a function takes", 413, command({**REPORT, "pictures": "A" * (5 << 20)}))
attack("a command that is no object", 400, command("[1]"))
attack("a command without a reason", 400, command({**REVOCATION, "reason": ""}))
attack("a command over a word", 404, command({**REVOCATION, "version": "all"}))
attack(
    "a command to adopt nothing",
    400,
    command({"operation": "adopt", "environment": "dev", "package": "null", "reason": "x"}),
)


def adoption(environment: str = "uat", **changes: Any) -> Try:
    container = {"image": "i", "model_data_url": "s3://promotion-models/open/model.tar.gz", "sha256": "0" * 64}
    package = {"group": "open", "version": 1, "arn": f"{PACKAGES}/open/1", "containers": [container], **changes}
    return command({"operation": "adopt", "environment": environment, "package": json.dumps(package), "reason": "x"})


attack("adopting under another version's ARN", 400, adoption(version=7))
attack("adopting what is not hashed", 400, adoption(containers=[{"image": "i"}]))
attack("adopting into an unknown environment", 404, adoption("moon"))
attack(
    "adopting over what is live",
    403,
    adoption("dev", group="two", arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/two/1"),
)
