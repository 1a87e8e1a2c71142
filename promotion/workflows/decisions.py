"""Workflows for registrations, artifacts, decisions, repeated requests, reminders and expiry.

Each reads the group's states, applies the rules, and appends events to the ledger in one step. Only the ledger is written: the
registry, Parameter Store, the bus and mail are projected from its stream, so a crash here leaves either all events or none.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from promotion import names
from promotion.domain import freezes, policy
from promotion.domain.model import Container, EnvironmentState, Evidence, Package, Request
from promotion.domain.package_changes import RegistryView
from promotion.domain.people import SYSTEM, Actor, Person
from promotion.domain.request_ids import parse_request_id
from promotion.domain.signing import signature
from promotion.errors import Invalid, Refused
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, checked_reason, known
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.parameter_documents import fits_a_parameter
from promotion.ledger.request_state import current_request
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows import registry_changes
from promotion.workflows.requests import ask, expiry


def register(
    package: Package, evidence: Evidence, *, context: Context, unasked: str = "", changed: str = ""
) -> Receipt:
    """Record a new version and request approval for the first environment, or record the changes of a known version.

    Idempotent: several events for one change, and events that our own writes cause, make one request. `unasked` is the reason
    to record a new version without a request. `changed` is the note that the request of a new version shows.
    """
    package = bounded(package)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        state = view.find_version(package.version)
        if state is None:
            return registry_changes.registered(view, package, evidence, context, unasked=unasked, changed=changed)
        return registry_changes.seen_again(view, state, package, evidence, context, unasked=unasked)

    return append(package.group, step, context)


# A package's problem if its live record would not fit into a parameter.
TOO_LARGE = (
    "its containers' environment variables are more than Parameter Store takes; put them into the image, or into a file of "
    "the artifact."
)


def bounded(package: Package) -> Package:
    """If the container environment exceeds the parameter size limit, drop it and mark the package as not approvable."""
    if fits_a_parameter(package):
        return package
    bare = tuple(replace(container, environment={}) for container in package.containers)
    return replace(package, containers=bare, problem=TOO_LARGE)


def record_artifact(
    group: str,
    version: int,
    containers: Sequence[Container],
    problem: str,
    *,
    context: Context,
    hashing: bool = False,
) -> Receipt:
    """Record what hashing an artifact found, where it took longer than the registration could wait.

    With `hashing`, hashing failed and is retried: pages show the problem, and the version can't be approved yet.

    Raises:
        Invalid: the version was never registered, or with other artifacts.
    """

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        package = known(view, version).package
        if not package.hashing:
            return "the artifact is already hashed"
        if hashing and package.problem == problem:
            return "this problem is recorded already"
        registered = [(each.image, each.model_data_url) for each in package.containers]
        if containers and [(each.image, each.model_data_url) for each in containers] != registered:
            raise Invalid("containers", f"{group} v{version} was registered with another image or artifact.")
        # The digests that hashing adds are part of the live record too.
        too_large = bool(containers) and not fits_a_parameter(replace(package, containers=tuple(containers)))
        why = problem or (TOO_LARGE if too_large else "")
        found = payloads.ArtifactHashed(problem=why, hashing=hashing, containers=tuple(containers))
        return [happened(found, SYSTEM, version=version)]

    return append(group, step, context)


def record_decision(
    asked: str,
    person: Person,
    verdict: str,
    reason: str,
    *,
    context: Context,
    breaking_glass: bool = False,
    confirmed: bool = False,
    seen: RegistryView | None = None,
) -> Receipt:
    """Append the verdict of `person` on the request `asked`, and the promotion that follows if it completes the quorum.

    Args:
        asked: Id of the request.
        person: The approver.
        verdict: Approved or Rejected.
        reason: Why, for the history.
        context: The ledger, the configuration and the time.
        breaking_glass: Approve past a failed gate or without the quorum.
        confirmed: The person ticked that they have seen what is unusual (`policy.to_confirm`).
        seen: The package in the registry at this moment.

    Raises:
        Invalid: the verdict or the reason is malformed.
        Refused: the rules say no; AlreadyDecided if the request is no longer pending.
    """
    decided, reason = checked_verdict(verdict), checked_reason(reason)
    group, version, name, _ = parse_request_id(asked)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        judged = situation(view, asked, context=context, seen=seen)
        request, rules = judged.request, judged.rules
        judgement = policy.may_decide(person, decided, judged, breaking_glass=breaking_glass)
        judgement.require()
        policy.require_confirmed(judged, decided, confirmed=confirmed)
        shown = policy.shown_digest(judged.version, request)
        signed = (
            signature(person, decided, rules, group=group, version=version, shown=shown, now=context.now)
            if rules.signature
            else None
        )
        decision = happened(
            payloads.DecisionRecorded(
                request_id=request.id,
                verdict=decided,
                reason=reason,
                quorum=rules.quorum,
                votes=len(request.approvals) + (decided == names.APPROVED),
                broke_glass=judgement.breaks_glass,
                signature=signed,
            ),
            person.as_actor(policy.deciding_group(person, rules, context.config)),
            version=version,
            environment=name,
            evidence_digest=shown,
        )
        if decided == names.REJECTED:
            return [decision]
        voters = [*(vote.actor for vote in request.approvals), person.as_actor()]
        if len(voters) < rules.quorum and not judgement.breaks_glass:
            return [decision]
        return [decision, _promotion(view, request, person, voters, shown, judgement.breaks_glass, context)]

    return append(group, step, context)


def ask_again(asked: str, actor: Person | Actor, changed: str, *, context: Context) -> Receipt:
    """Request approval again after a rejection, expiry, supersession, withdrawal or rollback, with a note of what has changed.

    The evidence is that of the newest completed run in the environment before.

    Raises:
        AlreadyDecided: the request is still open, was approved, or a newer version is live or pending there.
        Refused: the actor may not request it.
    """
    changed = checked_reason(changed)
    group, version, name, _ = parse_request_id(asked)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        judged = situation(view, asked, context=context)
        if isinstance(actor, Person):
            policy.may_ask_again(actor, judged).require()
            approvers = judged.rules.approver_group.id
            asks = actor.as_actor(approvers if approvers in actor.groups else "")
        else:
            policy.may_be_asked_again(judged).require()
            asks = actor
        state, previous = known(view, version), context.config.previous(name)
        measured = state.evidence.get(previous) if previous is not None else None
        evidence = measured if measured is not None and measured.status == "Completed" else judged.request.evidence
        return ask(view, state.package, name, evidence, asks, context, changed=changed)

    return append(group, step, context)


def keep_time(state: EnvironmentState, *, context: Context) -> Receipt:
    """Expire the pending request of an environment when its time is over, and remind its approvers once at half of that time.

    The time in a freeze window doesn't count.
    """

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        environment = view.environment(state.name)
        if environment.pending is None:
            return "nothing is pending"
        request = known(view, environment.pending).requests[state.name]
        if request.state_at(context.now) == "Expired":
            return expiry(request)
        windows = freezes.windows_of(context.config, state.name)
        half = freezes.halfway(request.requested_at, request.expires_at, windows)
        if context.now >= half and not request.reminded:
            return [
                happened(
                    payloads.ApproverReminded(request_id=request.id),
                    SYSTEM,
                    version=request.version,
                    environment=state.name,
                )
            ]
        return "it is not time yet"

    return append(state.group, step, context)


def checked_verdict(text: str) -> names.Verdict:
    """Return the text as a verdict.

    Raises:
        Invalid: it is neither Approved nor Rejected.
    """
    for verdict in names.VERDICTS:
        if text == verdict:
            return verdict
    raise Invalid("verdict", f"choose {' or '.join(names.VERDICTS)}.")


def find_request(view: GroupSnapshot, version: int, name: str, attempt: int) -> tuple[Request, bool]:
    """The newest request of a version into an environment, and whether it is attempt number `attempt`.

    Raises:
        Refused: there is no such request.
    """
    found = current_request(view, version, name, attempt)
    if found is None:
        raise Refused("There is no such request.", code="unknown_request")
    return found


def situation(
    view: GroupSnapshot, asked: str, *, context: Context, seen: RegistryView | None = None
) -> policy.Situation:
    """Return the situation of a decision on the request `asked`; `seen` is the registry's state at this moment.

    Raises:
        Refused: there is no such request.
    """
    _, number, name, attempt = parse_request_id(asked)
    request, newest = find_request(view, number, name, attempt)
    version = view.version(number)
    return policy.Situation(
        config=context.config,
        request=request,
        version=seen.of(version, context.config.environment_names) if seen is not None else version,
        environment=view.environment(name),
        now=context.now,
        newest=newest,
    )


def _promotion(
    view: GroupSnapshot,
    request: Request,
    person: Person,
    voters: list[Actor],
    shown: str,
    broke_glass: bool,
    context: Context,
) -> NewEvent:
    """Return the promotion; its actor is the voter who completed the quorum, as in AWS's own records."""
    return happened(
        payloads.ModelPromoted(
            request_id=request.id,
            approved_by=tuple(actor.subject for actor in voters),
            approvers=tuple(actor.label for actor in voters),
            replaces=view.environment(request.environment).live,
            broke_glass=broke_glass,
            order=tuple(context.config.environment_names),
        ),
        person.as_actor(),
        version=request.version,
        environment=request.environment,
        evidence_digest=shown,
    )
