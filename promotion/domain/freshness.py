"""Check of the sign-in's age and strength against an environment's rules for decisions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from promotion.config.settings import Decision
from promotion.domain.people import Authentication

# A round trip to the provider, and the time to read a page again and press a button.
ROUND_TRIP = timedelta(minutes=5)
# The time to send a form again that comes back filled in.
ONCE_MORE = timedelta(minutes=1)


def too_old(how: Authentication | None, decision: Decision, *, now: datetime, made_for_this: bool) -> str:
    """Return why a person has to sign in again before a decision; empty if they need not.

    Args:
        how: The person's authentication, from the claims of the ID token.
        decision: The environment's rule.
        now: The time.
        made_for_this: True if the sign-in was made for this decision, a moment ago.
    """
    if how is None or how.issued_at is None:
        return "Your session doesn't say when your groups were read."
    within = decision.freshness
    if not within:
        if not made_for_this:
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


def credentials_each_time(decision: Decision) -> bool:
    """Return True if each decision needs its own sign-in, so that opening the form needs none."""
    return decision.reauthenticate and not decision.freshness


def strictest(decisions: Iterable[Decision]) -> Decision:
    """Return a sign-in rule that fulfils each of several rules."""
    rules = tuple(decisions)
    return Decision(
        fresh_within=min(rules, key=lambda each: each.freshness).fresh_within if rules else Decision().fresh_within,
        reauthenticate=any(each.reauthenticate for each in rules),
        acr_values=tuple(dict.fromkeys(value for each in rules for value in each.acr_values)),
    )


def demands(decision: Decision) -> dict[str, str]:
    """Return the authorization parameters that a decision requires (OpenID Connect Core 1.0, 3.1.2.1)."""
    found: dict[str, str] = {}
    if decision.reauthenticate:
        found |= {"prompt": "login", "max_age": "0"}
    if decision.acr_values:
        found["acr_values"] = " ".join(decision.acr_values)
    return found
