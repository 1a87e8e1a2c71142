"""Whether somebody signed in recently enough, and strongly enough, to decide in an environment."""

from __future__ import annotations

from datetime import datetime, timedelta

from promotion.config.settings import Decision
from promotion.domain.model import Authentication

# A round trip to the provider, and the time to read a page again and press a button.
ROUND_TRIP = timedelta(minutes=5)


def too_old(
    how: Authentication | None, decision: Decision, *, now: datetime, made_at: datetime | None, made_for_this: bool
) -> str:
    """Why somebody has to sign in again before they decide; empty where they need not.

    Args:
        how: How they were authenticated, by the claims of their ID token.
        decision: What the environment asks for.
        now: The time.
        made_at: When their session began.
        made_for_this: Whether that sign-in was made to come back to the page that they decide on.
    """
    if how is None or how.issued_at is None:
        return "Your session doesn't say when your groups were read."
    within = decision.freshness
    if not within:
        if not made_for_this or made_at is None or now - made_at > ROUND_TRIP:
            return "Each decision here needs a sign-in of its own."
    elif now - how.issued_at > within:
        return f"Your groups were read more than {decision.fresh_within} ago."
    if decision.reauthenticate:
        if how.auth_time is None:
            return "The identity provider doesn't say when you entered your credentials (auth_time)."
        if now - how.auth_time > max(within, ROUND_TRIP):
            return "You entered your credentials too long ago."
    if decision.acr_values and how.acr not in decision.acr_values and not set(how.amr) & set(decision.acr_values):
        return f"This decision needs a stronger sign-in: {' or '.join(decision.acr_values)}."
    return ""


def demands(decision: Decision) -> dict[str, str]:
    """Parameters of an authorization request that brings what a decision asks for (OpenID Connect Core 1.0, 3.1.2.1)."""
    found: dict[str, str] = {}
    if decision.reauthenticate:
        found |= {"prompt": "login", "max_age": "0"}
    if decision.acr_values:
        found["acr_values"] = " ".join(decision.acr_values)
    return found
