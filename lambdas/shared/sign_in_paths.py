"""The addresses that a sign-in goes out from and comes back to, and what the one it comes back to asks of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from urllib.parse import quote

from lambdas.shared.dependencies import config
from promotion.config.settings import Decision
from promotion.domain import signing
from promotion.domain.request_ids import parse_request_id
from promotion.errors import Invalid, LinkInvalid


def login(return_to: str, *, renew: bool = False) -> str:
    """The address that begins a sign-in."""
    return f"/login?return_to={quote(return_to, safe='/')}{'&renew=1' if renew else ''}"


def decision_at(path: str, request_of: Callable[[str], str]) -> Decision:
    """What the environment of a request's page asks of whoever decides there; nothing for any other page."""
    first, token = [*path.split("?")[0].split("/"), "", ""][1:3]
    if first != "approvals":
        return Decision()
    try:
        group, _, name, _ = parse_request_id(request_of(token))
        return signing.required_of(config().environment(name, group))
    except (LinkInvalid, Invalid):
        return Decision()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
