"""Fold events into states: one change for each kind of event.

The ledger stores the folded states beside the events, so that a decision costs the same however long the history is;
folding all events again from the first must give the same states, and `promotion verify` checks that it does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, assert_never

import msgspec
from msgspec.structs import replace

from promotion import names
from promotion.domain.model import (
    FOLD_VERSION,
    RUNS_REMEMBERED,
    EnvironmentState,
    Head,
    Request,
    RequestState,
    VersionState,
    Vote,
    digest,
    request_id,
)
from promotion.errors import require
from promotion.ledger import drift_state, endpoint_state, payloads
from promotion.ledger.events import Event
from promotion.ledger.live_state import Live, go_live
from promotion.ledger.payloads import Payload, Unknown
from promotion.ledger.snapshot import GroupSnapshot

State = TypeVar("State", VersionState, EnvironmentState)

# Kinds after which the registry's approval status may have to be another; asking again is one at times (`_requested`).
STATUS_KINDS = frozenset({names.DECISION_RECORDED, names.MODEL_PROMOTED, names.MODEL_REVOKED, names.MODEL_ADOPTED})


def evolve(view: GroupSnapshot, event: Event) -> None:
    """Change `view` by what `event` says happened. Events of kinds that change no state pass."""
    if event.version is not None and event.kind != names.MODEL_REGISTERED:
        state = replace(view.version(event.version), last_sequence=event.sequence)
        if event.kind in STATUS_KINDS:
            state = replace(state, status_since=event.time)
        view.put_version(state)
    _change(view, event, event.payload)


def _change(view: GroupSnapshot, event: Event, payload: Payload | Unknown) -> None:
    match payload:
        case payloads.ModelRegistered():
            _registered(view, event, payload)
        case payloads.ArtifactHashed():
            _hashed(view, event, payload)
        case payloads.ApprovalRequested():
            _requested(view, event)
        case payloads.ApproverReminded():
            _reminded(view, event)
        case payloads.DecisionRecorded():
            _decided(view, event, payload)
        case payloads.ModelPromoted():
            _promoted(view, event, payload)
        case payloads.ModelRolledBack():
            _rolled_back(view, event, payload)
        case payloads.ModelRevoked():
            _revoked(view, event, payload)
        case payloads.ModelAdopted():
            live = Live(order=payload.order, approved_by=payload.approved_by, outgoing=names.SUPERSEDED, approves=True)
            go_live(view, event, _version(event), _environment(event), live)
        case payloads.RequestExpired():
            _close(view, event, "Expired")
        case payloads.RequestWithdrawn():
            _close(view, event, "Withdrawn")
        case payloads.RequestSuperseded():
            _close(view, event, "Superseded", superseded_by=payload.by)
        case payloads.ApprovalBypassed():
            state = view.version(_version(event))
            view.put_version(replace(state, bypassed=not payload.reverted, bypass_seen=payload.seen))
        case payloads.PackageRemoved():
            view.put_version(replace(view.version(_version(event)), removed=True))
        case payloads.InferenceCompleted():
            _inference(view, event, payload)
        case payloads.IntegrityBroken():
            drift_state.broken(view, event)
        case payloads.DriftDetected():
            drift_state.drifted(view, event, payload)
        case payloads.DriftEnded():
            drift_state.say(view, event, payload.source, drifts=False)
        case payloads.RetrainingStarted():
            drift_state.retrained(view, event, payload)
        case payloads.EndpointChanged():
            endpoint_state.changed(view, event, payload)
        case payloads.PackageChanged() | payloads.PolicyChanged() | payloads.SigningKeyChanged() | Unknown():
            pass
        case _:
            assert_never(payload)


def refolded(head: Head, events: Iterable[Event]) -> GroupSnapshot:
    """The states that the events up to `head` come to.

    Every environment counts as changed, so that the next append writes those states as this release folds them. Versions are
    written when an event is about them: there may be more of them than go into one transaction.
    """
    view = GroupSnapshot(Head(group=head.group))
    for event in events:
        # What was appended since the head was read is not in it.
        if event.sequence <= head.sequence:
            evolve(view, event)
    view.head = head
    view.changed_versions.clear()
    return view


def read_state(text: str, kind: type[State]) -> State | None:
    """A stored state; None where another release folded it, or where it can't be read: then the events say what it is."""
    try:
        found = msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None
    return found if found.fold == FOLD_VERSION else None


def touched(event: Event) -> list[int]:
    """The versions whose state an event may have changed, its own first."""
    others: list[int | None] = []
    match event.payload:
        case payloads.ModelPromoted(replaces=number) | payloads.ModelRolledBack(from_version=number):
            others = [number]
        case payloads.ModelRevoked(falls_back=instead):
            others = [*instead.values()]
    found = [event.version, *others] if event.version is not None else []
    return list(dict.fromkeys(number for number in found if number is not None))


def current_request(
    view: GroupSnapshot, group: str, version: int, environment: str, attempt: int
) -> tuple[Request, bool] | None:
    """The newest request of a version into an environment, and whether it is the one asked for; None for no such."""
    state = view.find_version(version)
    request = state.requests.get(environment) if state else None
    if request is None or attempt < 1 or attempt > request.attempt:
        return None
    return request, request.attempt == attempt


def _registered(view: GroupSnapshot, event: Event, payload: payloads.ModelRegistered) -> None:
    view.put_version(
        VersionState(
            package=payload.package,
            package_digest=event.part_digest("package"),
            statuses=dict.fromkeys(payload.environments, names.PENDING),
            first_sequence=event.sequence,
            last_sequence=event.sequence,
        )
    )


def _hashed(view: GroupSnapshot, event: Event, payload: payloads.ArtifactHashed) -> None:
    state = view.version(_version(event))
    package = replace(
        state.package,
        hashing=payload.hashing,
        problem=payload.problem,
        containers=payload.containers or state.package.containers,
    )
    # The package as recorded, and then what hashing recorded of it.
    known = digest([state.package_digest, event.part_digest("containers"), payload.problem])
    view.put_version(replace(state, package=package, package_digest=known))


def request_of(event: Event) -> Request:
    """The request that an `Approval Requested` event opens.

    Raises:
        TypeError: it is an event of another kind.
    """
    payload = event.payload
    if not isinstance(payload, payloads.ApprovalRequested):
        raise TypeError(f"{event.kind} opens no request.")
    return Request(
        group=event.group,
        version=_version(event),
        environment=_environment(event),
        attempt=payload.attempt,
        requested_at=event.time,
        expires_at=payload.expires_at,
        evidence=payload.evidence,
        gates=payload.gates,
        changed=payload.changed,
        evidence_digest=event.part_digest("evidence"),
        gates_digest=event.part_digest("gates"),
    )


def _requested(view: GroupSnapshot, event: Event) -> None:
    state, environment, request = (
        view.version(_version(event)),
        view.environment(_environment(event)),
        request_of(event),
    )
    # Asked again into the first environment, what the registry said before is about to be written over; into a later one, it
    # stays Approved.
    again = request.attempt > 1 and not state.approvals
    view.put_version(
        replace(
            state,
            requests={**state.requests, environment.name: request},
            statuses={**state.statuses, environment.name: names.PENDING},
            status_since=event.time if again else state.status_since,
        )
    )
    view.put_environment(
        replace(
            environment,
            pending=state.version,
            pending_since=event.time,
            pending_expires_at=request.expires_at,
            pending_id=request.id,
            pending_gates_open=request.gates_open,
            pending_votes=0,
            pending_voters=(),
            pending_requester=state.package.requester,
            pending_reminded=False,
        )
    )


def _reminded(view: GroupSnapshot, event: Event) -> None:
    _change_request(view, event, reminded=True)
    view.put_environment(replace(view.environment(_environment(event)), pending_reminded=True))


def _decided(view: GroupSnapshot, event: Event, payload: payloads.DecisionRecorded) -> None:
    state, name = view.version(_version(event)), _environment(event)
    vote = Vote(
        actor=event.actor,
        verdict=payload.verdict,
        reason=payload.reason,
        at=event.time,
        evidence_digest=event.evidence_digest,
        meaning=payload.signature.meaning if payload.signature else "",
    )
    votes = (*state.requests[name].votes, vote)
    if payload.verdict == names.REJECTED:
        _close(view, event, "Rejected", votes=votes)
        return
    _change_request(view, event, votes=votes)
    voters = tuple(each.actor for each in votes)
    view.put_environment(replace(view.environment(name), pending_votes=len(votes), pending_voters=voters))


def _promoted(view: GroupSnapshot, event: Event, payload: payloads.ModelPromoted) -> None:
    name, number = _environment(event), _version(event)
    if payload.request_id:
        _close(view, event, "Approved")
    live = Live(
        order=payload.order,
        approved_by=payload.approved_by,
        approvers=payload.approvers,
        request_id=payload.request_id,
        outgoing=names.SUPERSEDED,
        approves=True,
    )
    go_live(view, event, number, name, live)


def _rolled_back(view: GroupSnapshot, event: Event, payload: payloads.ModelRolledBack) -> None:
    name, number = _environment(event), _version(event)
    before = view.environment(name).live
    # Going forward again the older version is superseded, as it was the first time; only what was left behind as bad is not
    # gone back to by default.
    forward = before is not None and number > before
    outgoing = names.SUPERSEDED if forward else names.ROLLED_BACK
    go_live(view, event, number, name, Live(order=payload.order, outgoing=outgoing))


def _revoked(view: GroupSnapshot, event: Event, payload: payloads.ModelRevoked) -> None:
    number = _version(event)
    state = view.version(number)
    requests = {
        name: replace(request, state="Revoked", closed_at=event.time) if request.state == "Pending" else request
        for name, request in state.requests.items()
    }
    view.put_version(
        replace(state, revoked=True, requests=requests, statuses=dict.fromkeys(state.statuses, names.REVOKED))
    )
    for name, environment in view.environments.items():
        former = tuple(v for v in environment.former if v != number)
        changed = replace(environment, former=former)
        if environment.pending == number:
            changed = _nothing_pending(changed)
        if changed != environment:
            view.put_environment(changed)
        if environment.live == number:
            fallback = payload.falls_back.get(name)
            if fallback is None:
                view.put_environment(
                    replace(
                        view.environment(name),
                        live=None,
                        live_sequence=event.sequence,
                        live_since=event.time,
                        live_by=(event.actor.label,),
                        approval_id=event.event_id,
                        revoked=True,
                        **drift_state.OVER,
                    )
                )
            else:
                go_live(view, event, fallback, name, Live(order=payload.order, outgoing=names.REVOKED))


def _inference(view: GroupSnapshot, event: Event, payload: payloads.InferenceCompleted) -> None:
    state, name = view.version(_version(event)), _environment(event)
    evidence = payload.evidence
    runs = (*state.runs, evidence.run_id)[-RUNS_REMEMBERED:]
    view.put_version(
        replace(
            state,
            evidence={**state.evidence, name: evidence},
            evidence_digests={**state.evidence_digests, name: event.part_digest("evidence")},
            runs=runs,
        )
    )
    view.put_environment(replace(view.environment(name), last_run=evidence.run_id))
    drift_state.ran(view, event, payload)


def _version(event: Event) -> int:
    return require(event.version, f"event {event.sequence} of {event.group}", "version")


def _environment(event: Event) -> str:
    return require(event.environment, f"event {event.sequence} of {event.group}", "environment")


def _change_request(view: GroupSnapshot, event: Event, **changes: Any) -> None:
    state, name = view.version(_version(event)), _environment(event)
    request = replace(state.requests[name], **changes)
    view.put_version(replace(state, requests={**state.requests, name: request}))


def _close(view: GroupSnapshot, event: Event, how: RequestState, **changes: Any) -> None:
    name = _environment(event)
    _change_request(view, event, state=how, closed_at=event.time, closed_sequence=event.sequence, **changes)
    state = view.version(_version(event))
    if how != "Approved" and state.statuses.get(name) == names.PENDING:
        view.put_version(replace(state, statuses={**state.statuses, name: how}))
    environment = view.environment(name)
    request = state.requests[name]
    if environment.pending_id == request_id(request.group, request.version, name, request.attempt):
        view.put_environment(_nothing_pending(environment))


def _nothing_pending(environment: EnvironmentState) -> EnvironmentState:
    return replace(
        environment,
        pending=None,
        pending_since=None,
        pending_expires_at=None,
        pending_id="",
        pending_gates_open=True,
        pending_votes=0,
        pending_voters=(),
        pending_requester=None,
        pending_reminded=False,
    )
