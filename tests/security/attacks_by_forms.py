"""Decisions by foreign forms, with forged tokens, and with malformed bodies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode

from promotion.links.tokens import Keyring
from tests.security.attacked import ANN, BEN, Answer, Attacked
from tests.security.attempts import (
    JSON,
    OPEN,
    QUORUM,
    REVOKE,
    ROLLBACK,
    STRANGER,
    VERDICT,
    WHY,
    Attack,
    Try,
    add,
    not_expired,
    sign_in_cookie,
    unsalted,
)

ATTACKS: list[Attack] = []
attack = partial(add, ATTACKS)

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
    return lambda attacked: attacked.decide(
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


def with_token(make: Callable[[Attacked], str]) -> Try:
    return lambda attacked: attacked.post(f"/approvals/{make(attacked)}", ANN, VERDICT)


def spliced(attacked: Attacked) -> str:
    """One request under another's signature."""
    one, other = attacked.keyring.approval_token(OPEN), attacked.keyring.approval_token(QUORUM)
    return f"{one.rpartition('.')[0]}.{other.rpartition('.')[2]}"


def other_spelling(attacked: Attacked) -> str:
    """The same bytes: the last character of a signature has two bits to spare."""
    token = attacked.keyring.approval_token(OPEN)
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

    def attempt(attacked: Attacked) -> Answer:
        raw = body.encode() if isinstance(body, str) else body
        return attacked.send(
            "POST", attacked.link(OPEN), who=ANN, body=raw.replace(b"CSRF", attacked.csrf(ANN).encode()), headers=made
        )

    return attempt


def with_fields(**fields: str) -> Try:
    return lambda attacked: attacked.post(attacked.link(OPEN), ANN, {**VERDICT, **fields})


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
