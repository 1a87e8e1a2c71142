"""Operations on existing versions: roll back, revoke, adopt, and record out-of-band changes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from promotion import names
from promotion.domain import policy
from promotion.domain.model import EnvironmentState, Package, registry_status
from promotion.domain.people import SYSTEM, Actor, Person
from promotion.errors import AlreadyDecided, NotApproved, Refused
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, checked_reason, known
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.parameter_documents import fits_a_parameter
from promotion.ledger.snapshot import GroupSnapshot, falls_back
from promotion.workflows import decisions


def roll_back(
    group: str, name: str, actor: Person | Actor, reason: str, *, context: Context, to_version: int | None = None
) -> Receipt:
    """Roll an environment back to a version that was live there; by default the last good one.

    Going forward again is the same operation. Freeze windows don't apply.

    Raises:
        Refused: not an approver, never live there, or revoked.
        NotApproved: there is no version to roll back to.
    """
    reason = checked_reason(reason)
    policy.may_roll_back(actor, name, group, context.config).require()

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        environment = view.environment(name)
        target = to_version if to_version is not None else view.last_good(environment)
        if target is None:
            raise NotApproved(f"{group} has no good version to go back to in {name}.")
        if target == environment.live:
            raise Refused(f"Version {target} is already live in {name}.", code="already_live")
        state = view.find_version(target)
        if state is None or state.revoked or target not in environment.former:
            raise Refused(f"Version {target} was never live in {name}, or was revoked.", code="never_live")
        rolled_back = happened(
            payloads.ModelRolledBack(
                from_version=environment.live, reason=reason, order=tuple(context.config.environment_names)
            ),
            _as_actor(actor, group, [name], context),
            version=target,
            environment=name,
        )
        return [*_given_way(environment, target), rolled_back]

    return append(group, step, context)


def revoke(group: str, version: int, actor: Person | Actor, reason: str, *, context: Context) -> Receipt:
    """Take a version out of every environment at once; each falls back to its last good version, or to nothing.

    Raises:
        Refused: not an approver or operator, or already revoked.
        Invalid: the version was never registered.
    """
    reason = checked_reason(reason)
    policy.may_revoke(actor, group, context.config).require()

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        if known(view, version).revoked:
            raise AlreadyDecided(f"Version {version} is already revoked.", code="revoked")
        instead = falls_back(view, version, context.config)
        return [
            happened(
                payloads.ModelRevoked(reason=reason, falls_back=instead, order=tuple(context.config.environment_names)),
                _as_actor(actor, group, context.config.environment_names, context),
                version=version,
            )
        ]

    return append(group, step, context)


def ask_for(group: str, version: int, arn: str, actor: Actor, reason: str, *, context: Context) -> Receipt:
    """Request a version for the first environment; a version that is not in the ledger is registered after this event.

    Idempotent until the version is registered: the same request by the same person appends nothing, and the receipt has the
    existing event, so that a registration that was lost after the event can be started again.

    Raises:
        Refused: the version was never requested there, or the actor is no operator.
        AlreadyDecided: its request is open, was approved, or a newer version is live or pending there.
    """
    reason = checked_reason(reason)
    policy.may_revoke(actor, group, context.config).require()
    first = context.config.environment_names[0]
    state = context.ledger.view(group).find_version(version)
    if state is None:
        asked = payloads.RegistrationAsked(version=version, arn=arn, reason=reason)
        stands = [event for event in context.ledger.events(group) if event.payload == asked and event.actor == actor]
        if stands:
            return Receipt(group=group, events=(stands[-1],))
        return append(group, lambda view: [happened(asked, actor)], context)
    if (request := state.requests.get(first)) is None:
        raise Refused(
            f"Version {version} is in the ledger, and nobody was asked for {first}; register it again.",
            code="not_asked",
        )
    return decisions.ask_again(request.id, actor, reason, context=context)


def adopt(package: Package, name: str, actor: Actor, reason: str, *, context: Context) -> Receipt:
    """Record that a version served in `name` before this service was installed; its open request there, or an older one, ends.

    Raises:
        Refused: a version is or was live there under this service already, or the actor is no operator.
    """
    reason = checked_reason(reason)
    policy.may_roll_back(actor, name, package.group, context.config).require()

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        environment = view.environment(name)
        if environment.live is not None:
            raise Refused(
                f"Version {environment.live} is live in {name}; only an empty environment can adopt.",
                code="already_live",
            )
        if environment.live_sequence:
            raise Refused(
                f"{package.group} was live in {name} before; what enters now is asked for: approve its request, ask again on its "
                f"page, or roll back with promotion rollback {package.group} {name}.",
                code="was_live",
            )
        known_state = view.find_version(package.version)
        if known_state is not None and known_state.revoked:
            raise Refused(f"Version {package.version} was revoked.", code="revoked")
        _check_attestable(package, known_state.package if known_state is not None else package)
        facts: list[NewEvent] = []
        order = tuple(context.config.environment_names)
        if known_state is None:
            registered = payloads.ModelRegistered(package=package, environments=order)
            facts.append(happened(registered, actor, version=package.version))
        attested = happened(
            payloads.ModelAdopted(reason=reason, approved_by=(actor.subject,), order=order),
            actor,
            version=package.version,
            environment=name,
        )
        return [*facts, *_given_way(environment, package.version), attested]

    return append(package.group, step, context)


def _check_attestable(given: Package, registered: Package) -> None:
    """Check that a version can go live: as the command describes it, and as it is registered, which the live record has.

    Raises:
        Refused: the artifact has a problem, is not hashed yet, or is not the registered one.
    """
    too_large = "" if fits_a_parameter(given) else decisions.TOO_LARGE
    hashing = "it is not hashed yet" if given.hashing or registered.hashing else ""
    if why := given.problem or registered.problem or hashing or too_large:
        raise Refused(f"The artifact can't be attested: {why.rstrip('.')}.", code="artifact")
    if [each.sha256 for each in given.containers] != [each.sha256 for each in registered.containers]:
        raise Refused(
            f"Version {registered.version} is registered with other bytes than these; register them as a new version.",
            code="artifact",
        )


def _given_way(environment: EnvironmentState, version: int) -> list[NewEvent]:
    """Return the event that supersedes the pending request of a version that goes live, or of an older version."""
    if environment.pending is None or environment.pending > version:
        return []
    closed = payloads.RequestSuperseded(request_id=environment.pending_id)
    return [happened(closed, SYSTEM, version=environment.pending, environment=environment.name)]


def record_bypass(
    group: str, version: int, status: str, by: str, *, context: Context, at: datetime | None = None
) -> Receipt:
    """Record that a version's approval status was set outside this service.

    The projector reverts an approval if the policy says so.

    `at` is when the registry's entry was last changed: a status set before this service's last decision is overwritten
    anyway, and two events about one change are one bypass.
    """

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        state = known(view, version)
        first = context.config.environment_names[0]
        seen = f"{status} {at.isoformat() if at else ''}".strip()
        if status == registry_status(state, first):
            return "the registry says what the ledger says"
        if seen == state.bypass_seen or (state.bypassed and state.bypass_seen.split(" ")[0] == status):
            # If the status stays the same, later edits of the version are no second bypass.
            return "this bypass is recorded already"
        if at is not None and state.status_since is not None and at < state.status_since:
            return "a later decision is on its way to the registry"
        # A version rejected outside is only reported: to approve it again is a person's decision.
        reverted = context.config.bypass == "revert" and status == names.APPROVED
        return [
            happened(
                payloads.ApprovalBypassed(
                    status=status, by=by, expected=registry_status(state, first), reverted=reverted, seen=seen
                ),
                SYSTEM,
                version=version,
            )
        ]

    return append(group, step, context)


def _as_actor(actor: Person | Actor, group: str, environments: Iterable[str], context: Context) -> Actor:
    """Return the actor, with the approver group that gave a person the right to act in one of the environments."""
    if not isinstance(actor, Person):
        return actor
    allowed = (context.config.environment(name, group).approver_group.id for name in environments)
    return actor.as_actor(next((each for each in allowed if each in actor.groups), ""))
