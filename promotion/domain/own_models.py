"""Rights of a model's requester: to read their own versions, and to withdraw their pending requests."""

from __future__ import annotations

from collections.abc import Iterable

from promotion.config.loading import Config
from promotion.config.settings import Environment
from promotion.domain import policy, requesters
from promotion.domain.model import Package, VersionState
from promotion.domain.people import Person
from promotion.domain.policy import ALLOWED, Judgement, Situation


def may_read(person: Person, package: Package, config: Config) -> bool:
    """Return True if `person` may read a version: approvers, auditors, and its verified requester may."""
    return policy.may_read(person, config) or is_requester(person, package)


def is_requester(person: Person, package: Package) -> bool:
    """Return True if `person` is the verified requester of a version."""
    return package.requester is not None and requesters.is_exactly(person, package.requester)


def may_withdraw(person: Person, s: Situation) -> Judgement:
    """Decide whether `person` may withdraw a request: only its requester may, until somebody has decided."""
    if not s.newest or s.version.revoked or s.request.state_at(s.now) != "Pending":
        return Judgement(
            may=False, kind="state", code="not_pending", why_not="Only a pending request can be withdrawn."
        )
    if not is_requester(person, s.version.package):
        return Judgement(
            may=False,
            kind="policy",
            code="not_requester",
            why_not="Only the requester may withdraw a request.",
            who_may="Whoever registered the version may.",
        )
    return ALLOWED


def asked_people(
    addresses: Iterable[str], version: VersionState, rules: Environment, config: Config
) -> tuple[str, ...]:
    """Return the approvers' addresses without those of people who may not approve a version in an environment.

    These are its requester, and whoever approved it for the environment before, where the rules want another person.
    """
    barred = _of_requester(version, rules) | _of_previous(version, rules, config)
    return tuple(address for address in addresses if address.casefold() not in barred)


def nobody_else_decides(version: VersionState, rules: Environment, config: Config) -> str:
    """Return why none of the approvers whom the configuration names may approve a version; empty where one may."""
    if asked_people(rules.approvers, version, rules, config):
        return ""
    own = _of_requester(version, rules)
    if len(rules.approvers) == 1 and rules.approvers[0].casefold() in own:
        return (
            f"The requester is the only approver whom the configuration names for {rules.name}, and may not approve their own "
            "model."
        )
    before = config.previous(rules.name)
    return (
        f"Each approver whom the configuration names for {rules.name} registered this version or approved it for {before}, and "
        "another person has to approve it."
    )


def _of_requester(version: VersionState, rules: Environment) -> set[str]:
    requester = version.package.requester
    if requester is None or rules.requester_may_approve:
        return set()
    return {name.casefold() for name in (*requesters.names_of(requester)[0], requester.actor.email)}


def _of_previous(version: VersionState, rules: Environment, config: Config) -> set[str]:
    before = version.requests.get(config.previous(rules.name) or "")
    if before is None or rules.previous_approver_may_approve:
        return set()
    return {name.casefold() for vote in before.approvals for name in vote.actor.all_names}
