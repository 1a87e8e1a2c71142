"""Rights of a model's requester: to read their own versions, and to withdraw what still waits."""

from __future__ import annotations

from collections.abc import Iterable

from promotion.config.loading import Config
from promotion.config.settings import Environment
from promotion.domain import policy, requesters
from promotion.domain.model import Package
from promotion.domain.people import Person, Requester
from promotion.domain.policy import ALLOWED, Judgement, Situation


def may_read(person: Person, package: Package, config: Config) -> bool:
    """Return True if `person` may read a version: an approver or auditor, or certainly its requester."""
    return policy.may_read(person, config) or is_requester(person, package)


def is_requester(person: Person, package: Package) -> bool:
    """Return True if `person` is certainly the one who registered a version."""
    return package.requester is not None and requesters.is_exactly(person, package.requester)


def may_withdraw(person: Person, s: Situation) -> Judgement:
    """Decide whether `person` may withdraw a request: its requester, while nobody has decided."""
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


def asked_people(addresses: Iterable[str], requester: Requester | None, rules: Environment) -> tuple[str, ...]:
    """Return the approvers' addresses without the requester's own, where the requester may not approve."""
    if requester is None or rules.requester_may_approve:
        return tuple(addresses)
    theirs = {name.casefold() for name in requesters.names_of(requester)[0]} | {requester.actor.email.casefold()}
    return tuple(address for address in addresses if address.casefold() not in theirs)


def nobody_else_decides(requester: Requester | None, rules: Environment) -> bool:
    """Return True if the requester is the only configured approver, and may not approve."""
    return not asked_people(rules.approvers, requester, rules)
