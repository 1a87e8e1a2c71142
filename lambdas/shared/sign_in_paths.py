"""Addresses from which a sign-in starts and to which it returns, and the sign-in rules of those addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from urllib.parse import quote

from lambdas.shared.dependencies import config
from promotion.config.settings import Decision
from promotion.domain import freshness, signing
from promotion.domain.request_ids import parse_request_id
from promotion.errors import Invalid, LinkInvalid


def login(return_to: str, *, renew: bool = False) -> str:
    """The address that begins a sign-in."""
    return f"/login?return_to={quote(return_to, safe='/')}{'&renew=1' if renew else ''}"


def decisions_at(path: str, request_of: Callable[[str], str]) -> tuple[Decision, ...]:
    """Return the sign-in rules of the environments that a path decides for; empty for pages that only read.

    At a request, and at rolling back, it is the one environment; at the page of a model and at revoking, every one.
    """
    first, second, third, last = [*path.split("?")[0].split("/"), "", "", "", ""][1:5]
    try:
        if first == "approvals":
            group, _, name, _ = parse_request_id(request_of(second))
            names = [name]
        elif first == "models":
            group, names = second, [third] if last == "rollback" else list(config().environment_names)
        else:
            return ()
        return tuple(signing.required_of(config().environment(name, group)) for name in names)
    except (LinkInvalid, Invalid):
        return ()


def decision_at(path: str, request_of: Callable[[str], str]) -> Decision:
    """Return the rule that a sign-in must meet for every decision at a path."""
    return freshness.strictest(decisions_at(path, request_of))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
