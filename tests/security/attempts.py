"""An attack as the tests try it, and the values that several attacks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from itsdangerous import URLSafeSerializer

from promotion.links.tokens import SignIn
from tests.security.attacked import Answer, Attacked

OPEN, SHUT, QUORUM = "open:1:dev:1", "shut:1:test:1", "quorum:1:test:1"
ROLLBACK, REVOKE = "/models/two/dev/rollback", "/models/open/versions/1/revoke"
WHY = {"reason": "Because."}
VERDICT = {"verdict": "Approved", "reason": "Because."}
STRANGER = "somebody else's key, long enough to be one of ours"
JSON = {"Content-Type": "application/json"}

Try = Callable[[Attacked], Answer]


@dataclass(frozen=True)
class Attack:
    name: str
    status: int
    attempt: Try
    # Refused by API Gateway itself, before any function of ours: without our headers.
    by_gateway: bool = False


def add(attacks: list[Attack], name: str, status: int, attempt: Try, *, by_gateway: bool = False) -> None:
    attacks.append(Attack(name, status, attempt, by_gateway))


def not_expired(answer: Answer) -> Answer:
    """An answer that leaves the browser its session."""
    assert "set-cookie" not in answer.headers
    return answer


def sign_in_cookie(attacked: Attacked) -> str:
    sign_in = SignIn(state="s", nonce="n", verifier="v", return_to="/", expires_at=attacked.far)
    return attacked.sign_in_keys.sign_in_cookie(sign_in)


def unsalted(attacked: Attacked) -> str:
    """Signed with the right key, for nothing in particular."""
    return str(URLSafeSerializer(attacked.link_keys()[0]).dumps({"s": "ann", "g": ["ml-dev"], "e": 9_999_999_999}))
