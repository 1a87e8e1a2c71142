"""How events change what is so: one function per kind of event, folding the chain into states.

The ledger stores the folded states beside the events, so that a decision costs the same however long the history is;
folding all events again from the first must give the same states, and `promotion verify` checks that it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from promotion import names
from promotion.domain.model import (
    FOLD_VERSION,
    FORMER_KEPT,
    RUNS_REMEMBERED,
    Approval,
    Container,
    EnvironmentState,
    Evidence,
    GateResult,
    Head,
    Package,
    Request,
    RequestState,
    VersionState,
    Vote,
    digest,
    request_id,
)
from promotion.ledger import drift_state, endpoint_state
from promotion.ledger.events import Event
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
    change = _CHANGES.get(event.kind)
    if change is not None:
        change(view, event)


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
    others = [
        event.data.get("replaces"),
        event.data.get("from_version"),
        *(event.data.get("falls_back") or {}).values(),
    ]
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


def _registered(view: GroupSnapshot, event: Event) -> None:
    package = msgspec.convert(event.data["package"], Package)
    view.put_version(
        VersionState(
            package=package,
            package_digest=event.part_digest("package"),
            statuses=dict.fromkeys(event.data["environments"], names.PENDING),
            first_sequence=event.sequence,
            last_sequence=event.sequence,
        )
    )


def _hashed(view: GroupSnapshot, event: Event) -> None:
    state, data = view.version(_version(event)), event.data
    package = replace(state.package, hashing=data.get("hashing", False), problem=data.get("problem", ""))
    if "containers" in data:
        package = replace(package, containers=msgspec.convert(data["containers"], tuple[Container, ...]))
    # The package as recorded, and then what hashing recorded of it.
    known = digest([state.package_digest, event.part_digest("containers"), package.problem])
    view.put_version(replace(state, package=package, package_digest=known))


def _requested(view: GroupSnapshot, event: Event) -> None:
    state, environment = view.version(_version(event)), view.environment(_environment(event))
    request = Request(
        group=event.group,
        version=state.version,
        environment=environment.name,
        attempt=event.data["attempt"],
        requested_at=event.time,
        expires_at=msgspec.convert(event.data["expires_at"], type(event.time)),
        evidence=msgspec.convert(event.data["evidence"], Evidence),
        gates=msgspec.convert(event.data["gates"], tuple[GateResult, ...]),
        changed=event.data.get("changed", ""),
        evidence_digest=event.part_digest("evidence"),
        gates_digest=event.part_digest("gates"),
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


def _decided(view: GroupSnapshot, event: Event) -> None:
    state, name = view.version(_version(event)), _environment(event)
    verdict = event.data["verdict"]
    vote = Vote(
        actor=event.actor,
        verdict=verdict,
        reason=event.data.get("reason", ""),
        at=event.time,
        evidence_digest=event.evidence_digest,
        meaning=event.data.get("meaning", ""),
    )
    votes = (*state.requests[name].votes, vote)
    if verdict == names.REJECTED:
        _close(view, event, "Rejected", votes=votes)
        return
    _change_request(view, event, votes=votes)
    voters = tuple(each.actor for each in votes)
    view.put_environment(replace(view.environment(name), pending_votes=len(votes), pending_voters=voters))


def _promoted(view: GroupSnapshot, event: Event) -> None:
    name, number = _environment(event), _version(event)
    if event.data.get("request_id"):
        _close(view, event, "Approved")
    _go_live(view, event, number, name, outgoing=names.SUPERSEDED)


def _rolled_back(view: GroupSnapshot, event: Event) -> None:
    name, number = _environment(event), _version(event)
    before = view.environment(name).live
    # Going forward again the older version is superseded, as it was the first time; only what was left behind as bad is not
    # gone back to by default.
    forward = before is not None and number > before
    _go_live(view, event, number, name, outgoing=names.SUPERSEDED if forward else names.ROLLED_BACK)


def _revoked(view: GroupSnapshot, event: Event) -> None:
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
            fallback = event.data["falls_back"].get(name)
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
                _go_live(view, event, fallback, name, outgoing=names.REVOKED)


def _adopted(view: GroupSnapshot, event: Event) -> None:
    _go_live(view, event, _version(event), _environment(event), outgoing=names.SUPERSEDED)


def _expired(view: GroupSnapshot, event: Event) -> None:
    _close(view, event, "Expired")


def _superseded(view: GroupSnapshot, event: Event) -> None:
    _close(view, event, "Superseded", superseded_by=event.data.get("by", ""))


def _bypassed(view: GroupSnapshot, event: Event) -> None:
    state = view.version(_version(event))
    seen, reverted = event.data.get("seen", ""), event.data.get("reverted", False)
    view.put_version(replace(state, bypassed=not reverted, bypass_seen=seen))


def _inference(view: GroupSnapshot, event: Event) -> None:
    state, name = view.version(_version(event)), _environment(event)
    evidence = msgspec.convert(event.data["evidence"], Evidence)
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
    drift_state.ran(view, event, evidence)


_CHANGES: dict[str, Callable[[GroupSnapshot, Event], None]] = {
    names.MODEL_REGISTERED: _registered,
    names.ARTIFACT_HASHED: _hashed,
    names.APPROVAL_REQUESTED: _requested,
    names.APPROVER_REMINDED: _reminded,
    names.DECISION_RECORDED: _decided,
    names.MODEL_PROMOTED: _promoted,
    names.MODEL_ROLLED_BACK: _rolled_back,
    names.MODEL_REVOKED: _revoked,
    names.MODEL_ADOPTED: _adopted,
    names.REQUEST_EXPIRED: _expired,
    names.REQUEST_SUPERSEDED: _superseded,
    names.APPROVAL_BYPASSED: _bypassed,
    names.INFERENCE_COMPLETED: _inference,
    names.INTEGRITY_BROKEN: drift_state.broken,
    names.DRIFT_DETECTED: drift_state.drifted,
    names.DRIFT_ENDED: drift_state.ended,
    names.RETRAINING_STARTED: drift_state.retrained,
    names.ENDPOINT_CHANGED: endpoint_state.changed,
}


def _version(event: Event) -> int:
    assert event.version is not None, event.kind
    return event.version


def _environment(event: Event) -> str:
    assert event.environment is not None, event.kind
    return event.environment


def _go_live(view: GroupSnapshot, event: Event, number: int, name: str, *, outgoing: str) -> None:
    environment = view.environment(name)
    before = environment.live
    if before is not None and before != number and not view.version(before).revoked:
        previous = view.version(before)
        view.put_version(replace(previous, statuses={**previous.statuses, name: outgoing}))
    state = view.version(number)
    approval = state.approvals.get(name)
    if event.kind in (names.MODEL_PROMOTED, names.MODEL_ADOPTED) or approval is None:
        approval = Approval(
            approval_id=event.data.get("request_id") or event.event_id,
            approved_by=tuple(event.data.get("approved_by", (event.actor.subject,))),
            approved_at=event.time,
        )
    order = [*event.data.get("order", ()), name]
    furthest = state.furthest
    if furthest not in order or order.index(name) >= order.index(furthest):
        furthest = name
    view.put_version(
        replace(
            state,
            statuses={**state.statuses, name: names.APPROVED},
            approvals={**state.approvals, name: approval},
            furthest=furthest,
        )
    )
    former = tuple(v for v in environment.former if v != number)
    if before is not None and before != number and not view.version(before).revoked:
        former = (*(v for v in former if v != before), before)
    view.put_environment(
        replace(
            view.environment(name),
            live=number,
            live_sequence=event.sequence,
            live_since=event.time,
            live_by=tuple(event.data.get("approvers", (event.actor.label,))),
            approval_id=approval.approval_id,
            former=former[-FORMER_KEPT:],
            revoked=False,
            **drift_state.OVER,
        )
    )


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
