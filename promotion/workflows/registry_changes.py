"""Changes in the registry after a registration: a version was read again, changed, removed, or replaced."""

from __future__ import annotations

from promotion.domain import package_changes
from promotion.domain.canonical_json import digest
from promotion.domain.model import Evidence, Package, VersionState
from promotion.domain.people import SYSTEM
from promotion.formatting import iso, listed
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, known
from promotion.ledger.events import NewEvent, chained, happened
from promotion.ledger.fold import evolve
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows.requests import ask


def registered(
    view: GroupSnapshot, package: Package, evidence: Evidence, context: Context, *, unasked: str, changed: str
) -> list[NewEvent]:
    """Return the events of a version that is new to the ledger: its registration, and its first request unless `unasked`."""
    fact = _registration(package, evidence, context, unasked)
    return (
        [fact] if unasked else [fact, *ask(view, package, _first(context), evidence, SYSTEM, context, changed=changed)]
    )


def seen_again(
    view: GroupSnapshot,
    state: VersionState,
    package: Package,
    evidence: Evidence,
    context: Context,
    *,
    unasked: str,
) -> list[NewEvent] | str:
    """Return the events for a version in the ledger that was read from the registry again.

    Changed containers replace the registered ones before the first approval, with a new request: votes were for other bytes.
    Changes of the description, and all changes after an approval, are recorded for the page.
    """
    if package_changes.is_another(state.package, package):
        return _another(view, state, package, evidence, context, unasked=unasked)
    if state.revoked:
        return f"version {package.version} is revoked"
    changes = package_changes.changes(state.package, package, context.config.environment_names)
    mended = bool(state.package.problem) and not state.package.hashing and not (package.problem or package.hashing)
    served = [field for field in changes if package_changes.is_served(field)]
    if not (mended or served) or state.approvals:
        if changes == state.changes:
            return f"version {package.version} is already registered"
        news = {field: changes[field] for field in served} != {
            field: pair for field, pair in state.changes.items() if package_changes.is_served(field)
        }
        told = bool(served) and news
        return [happened(payloads.PackageChanged(changes=changes, told=told), SYSTEM, version=package.version)]
    changed = happened(payloads.PackageChanged(changes=changes, package=package), SYSTEM, version=package.version)
    request = state.requests.get(_first(context))
    if request is None or request.state_at(context.now) != "Pending":
        return [changed]
    what = f"Changed in the registry: {listed(served)}." if served else "What was wrong with the package was mended."
    return [changed, *ask(view, package, _first(context), evidence, SYSTEM, context, changed=what)]


def record_removed(group: str, version: int, *, context: Context) -> Receipt:
    """Record that a version is no longer in the registry; it can't be approved any more.

    Raises:
        Invalid: the version was never registered.
    """

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        if known(view, version).removed:
            return "it is recorded already"
        return [happened(payloads.PackageRemoved(), SYSTEM, version=version)]

    return append(group, step, context)


def _another(
    view: GroupSnapshot, state: VersionState, package: Package, evidence: Evidence, context: Context, *, unasked: str
) -> list[NewEvent] | str:
    """Return the events for another package under a known number: its group was deleted and created again."""
    made, new = (each.created_at or context.now for each in (state.package, package))
    if new < made:
        return f"version {package.version} was made anew since"
    facts: list[NewEvent] = []
    keeps: list[str] = []
    for name, environment in view.environments.items():
        if environment.pending is not None and _is_older(view, environment.pending, package):
            gone = payloads.RequestSuperseded(request_id=environment.pending_id, reason="Its package was deleted.")
            facts.append(happened(gone, SYSTEM, version=environment.pending, environment=name))
        if environment.live is not None and _is_older(view, environment.live, package):
            keeps.append(name)
    change = payloads.PackageChanged(
        changes={package_changes.CREATED: (iso(made), iso(new))}, anew=True, keeps=tuple(keeps)
    )
    facts += [happened(change, SYSTEM, version=package.version), _registration(package, evidence, context, unasked)]
    if unasked:
        return facts
    # The request is made from the group's states after these events, without pending or live versions that were deleted.
    after = GroupSnapshot(view.head, environments=view.environments, versions=view.versions, load=view.find_version)
    for event in chained(view.head, facts, time=context.now, policy_digest=""):
        evolve(after, event)
    return [*facts, *ask(after, package, _first(context), evidence, SYSTEM, context)]


def _registration(package: Package, evidence: Evidence, context: Context, unasked: str) -> NewEvent:
    requester = package.requester
    order = tuple(context.config.environment_names)
    return happened(
        payloads.ModelRegistered(package=package, environments=order, unasked=unasked),
        requester.actor if requester else SYSTEM,
        version=package.version,
        evidence_digest=digest(evidence),
    )


def _first(context: Context) -> str:
    return context.config.environment_names[0]


def _is_older(view: GroupSnapshot, number: int, package: Package) -> bool:
    """Return True if a version with the same or a higher number was created before the package: the numbers have restarted."""
    other = view.version(number).package
    made, new = other.created_at, package.created_at
    return number >= package.version and made is not None and new is not None and made < new
