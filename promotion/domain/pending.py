"""Notes on a pending version in lists and mails, computed without reading its request."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from promotion.config.loading import Config
from promotion.config.settings import Environment
from promotion.domain import requesters
from promotion.domain.model import EnvironmentState
from promotion.domain.people import Person

# The reason why it can't be approved, by the code of the refusal.
STOPS: Final = {
    "hashing": "not yet, its artifact is still being hashed",
    "removed": "stopped, it is no longer in the registry",
    "changed": "stopped, its package changed in the registry",
    "artifact": "stopped, its artifact can’t be approved",
    "requester_unknown": "stopped, nobody knows who registered it",
    "skips": "stopped, it is not approved for the environment before",
}


def waits_for(person: Person, state: EnvironmentState, rules: Environment, config: Config) -> bool:
    """Return True if the pending version waits for `person`, judged without reading its request.

    It doesn't wait for those who voted already, nor for those who may not approve it: its requester, and whoever approved it for
    the environment before, where the rules want another person.
    """
    if rules.approver_group.id not in person.groups:
        return False
    barred = list(state.pending_voters)
    if not rules.previous_approver_may_approve:
        barred += state.pending_approvers.get(config.previous(rules.name) or "", ())
    if any(actor.is_also(person.as_actor()) for actor in barred):
        return False
    requester = state.pending_requester
    return rules.requester_may_approve or requester is None or not requesters.judge(person, requester).code


def stops_everybody(state: EnvironmentState, rules: Environment, config: Config, now: datetime) -> str:
    """Return why nobody may approve the pending version, judged without its request; empty if there is no reason."""
    if state.pending_stop:
        return STOPS[state.pending_stop]
    if not state.pending_gates_open:
        return "quality gate failed"
    previous = config.previous(rules.name)
    if previous is not None and previous in state.pending_rolled_back:
        return f"stopped, it was rolled back in {previous}"
    if state.pending_requester is None and not rules.requester_may_approve:
        return STOPS["requester_unknown"]
    frozen = [w for w in config.freeze if rules.name in (w.environments or (rules.name,)) and w.start <= now < w.end]
    return f"frozen until {frozen[0].end:%Y-%m-%d %H:%M %Z}" if frozen else ""
