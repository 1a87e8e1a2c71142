"""Fold events into states: one change for each kind of event.

The ledger stores the folded states beside the events, so that a decision costs the same however long the history is;
folding all events again from the first must give the same states, and `promotion verify` checks that it does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, assert_never

import msgspec
from msgspec.structs import replace

from promotion import names
from promotion.domain import without_run
from promotion.domain.canonical_json import digest
from promotion.domain.model import FOLD_VERSION, RUNS_REMEMBERED, EnvironmentState, Head, VersionState
from promotion.ledger import drift_state, endpoint_state, payloads, request_state
from promotion.ledger.events import Event, environment_of, version_of
from promotion.ledger.live_state import Live, go_live
from promotion.ledger.payloads import Payload, Unknown
from promotion.ledger.snapshot import GroupSnapshot

State = TypeVar("State", VersionState, EnvironmentState)

# Kinds that may change the registry's approval status; a repeated request sometimes does too (`_requested`).
STATUS_KINDS = frozenset({names.DECISION_RECORDED, names.MODEL_PROMOTED, names.MODEL_REVOKED, names.MODEL_ADOPTED})


def evolve(view: GroupSnapshot, event: Event) -> None:
    """Apply `event` to `view`; kinds that change no state are ignored."""
    if event.version is not None and event.kind != names.MODEL_REGISTERED:
        state = replace(view.version(event.version), last_sequence=event.sequence)
        if _sets_status(event):
            # A status set outside this service is overwritten.
            state = replace(state, bypassed=False)
        if event.kind in STATUS_KINDS:
            state = replace(state, status_since=event.time)
        view.put_version(state)
    _change(view, event, event.payload)
    request_state.judge_pending(view)


def _sets_status(event: Event) -> bool:
    payload = event.payload
    if isinstance(payload, payloads.ModelPromoted):
        return event.environment in payload.order[:1]
    return isinstance(payload, payloads.ModelAdopted | payloads.ModelRevoked)


def _change(view: GroupSnapshot, event: Event, payload: Payload | Unknown) -> None:
    match payload:
        case payloads.ModelRegistered():
            _registered(view, event, payload)
        case payloads.ArtifactHashed():
            _hashed(view, event, payload)
        case payloads.ApprovalRequested():
            request_state.requested(view, event)
        case payloads.ApproverReminded():
            request_state.reminded(view, event)
        case payloads.DecisionRecorded():
            request_state.decided(view, event, payload)
        case payloads.ModelPromoted():
            _promoted(view, event, payload)
        case payloads.ModelRolledBack():
            _rolled_back(view, event, payload)
        case payloads.ModelRevoked():
            _revoked(view, event, payload)
        case payloads.ModelAdopted():
            live = Live(order=payload.order, approved_by=payload.approved_by, outgoing=names.SUPERSEDED, approves=True)
            go_live(view, event, version_of(event), environment_of(event), live)
        case payloads.RequestExpired():
            request_state.close(view, event, "Expired")
        case payloads.RequestWithdrawn():
            request_state.close(view, event, "Withdrawn")
        case payloads.RequestSuperseded():
            request_state.superseded(view, event, payload)
        case payloads.ApprovalBypassed():
            state = view.version(version_of(event))
            view.put_version(replace(state, bypassed=not payload.reverted, bypass_seen=payload.seen))
        case payloads.PackageRemoved():
            view.put_version(replace(view.version(version_of(event)), removed=True))
        case payloads.InferenceCompleted():
            _inference(view, event, payload)
        case payloads.InferenceSkipped():
            state = view.version(version_of(event))
            runs = (*state.runs, without_run.mark(environment_of(event)))[-RUNS_REMEMBERED:]
            view.put_version(replace(state, runs=runs))
        case payloads.IntegrityBroken():
            drift_state.broken(view, event)
        case payloads.DriftDetected():
            drift_state.drifted(view, event, payload)
        case payloads.DriftEnded():
            drift_state.set_drift(view, event, payload.source, drifts=False)
        case payloads.RetrainingStarted():
            drift_state.retrained(view, event, payload)
        case payloads.EndpointChanged():
            endpoint_state.changed(view, event, payload)
        case payloads.PackageChanged():
            _package_changed(view, event, payload)
        case payloads.RegistrationAsked() | payloads.PolicyChanged() | payloads.SigningKeyChanged() | Unknown():
            pass
        case _:
            assert_never(payload)


def refolded(head: Head, events: Iterable[Event]) -> GroupSnapshot:
    """Return the states folded from the events up to `head`.

    Every environment counts as changed, so that the next append writes those states as this release folds them. A version is
    written only with an event about it, because there may be more versions than fit into one transaction.
    """
    view = GroupSnapshot(Head(group=head.group))
    for event in events:
        # Events appended after the head was read are ignored.
        if event.sequence <= head.sequence:
            evolve(view, event)
    view.head = head
    view.changed_versions.clear()
    return view


def read_state(text: str, kind: type[State]) -> State | None:
    """Read a stored state; None if another fold version wrote it or it is damaged (fold the events then)."""
    try:
        found = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return found if found.fold == FOLD_VERSION else None


def touched(event: Event) -> list[int]:
    """Return the versions whose state an event may have changed, its own first."""
    others: list[int | None] = []
    match event.payload:
        case payloads.ModelPromoted(replaces=number) | payloads.ModelRolledBack(from_version=number):
            others = [number]
        case payloads.ModelRevoked(falls_back=instead):
            others = [*instead.values()]
    found = [event.version, *others] if event.version is not None else []
    return list(dict.fromkeys(number for number in found if number is not None))


def _registered(view: GroupSnapshot, event: Event, payload: payloads.ModelRegistered) -> None:
    earlier = view.find_version(version_of(event))
    asked = {name: request.attempt for name, request in earlier.requests.items()} if earlier else {}
    view.put_version(
        VersionState(
            package=payload.package,
            package_digest=event.part_digest("package"),
            statuses={
                **dict.fromkeys(payload.environments, names.PENDING),
                **({payload.environments[0]: names.REJECTED} if payload.unasked == names.REJECTED else {}),
            },
            unasked=payload.unasked,
            attempts={**(earlier.attempts if earlier else {}), **asked},
            first_sequence=event.sequence,
            last_sequence=event.sequence,
        )
    )


def _package_changed(view: GroupSnapshot, event: Event, payload: payloads.PackageChanged) -> None:
    state = view.version(version_of(event))
    if payload.anew:
        for name, environment in view.environments.items():
            if name in payload.keeps and environment.live is not None:
                kept = view.version(environment.live)
                view.put_environment(replace(environment, live=None, kept=kept, former=()))
            elif environment.former:
                view.put_environment(replace(environment, former=()))
    elif payload.package is not None:
        known = event.part_digest("package")
        view.put_version(replace(state, package=payload.package, package_digest=known, changes={}, removed=False))
    else:
        view.put_version(replace(state, changes=payload.changes))


def _hashed(view: GroupSnapshot, event: Event, payload: payloads.ArtifactHashed) -> None:
    state = view.version(version_of(event))
    package = replace(
        state.package,
        hashing=payload.hashing,
        problem=payload.problem,
        containers=payload.containers or state.package.containers,
    )
    # The digest covers the package as registered and the result of hashing it.
    known = digest([state.package_digest, event.part_digest("containers"), payload.problem])
    view.put_version(replace(state, package=package, package_digest=known))


def _promoted(view: GroupSnapshot, event: Event, payload: payloads.ModelPromoted) -> None:
    name, number = environment_of(event), version_of(event)
    if payload.request_id:
        request_state.close(view, event, "Approved")
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
    name, number = environment_of(event), version_of(event)
    before = view.environment(name).live
    # When going forward again, the older version is superseded, as it was the first time. Only a version that was rolled back
    # from is excluded from the default target of a rollback.
    forward = before is not None and number > before
    outgoing: names.Status = names.SUPERSEDED if forward else names.ROLLED_BACK
    if before is not None and not forward:
        request_state.rolled_back_from(view, event, before)
    go_live(view, event, number, name, Live(order=payload.order, outgoing=outgoing))


def _revoked(view: GroupSnapshot, event: Event, payload: payloads.ModelRevoked) -> None:
    number = version_of(event)
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
            last = request_state.closed(state.requests[name], event, "Revoked")
            changed = replace(request_state.nothing_pending(changed), closed=last)
        if changed != environment:
            view.put_environment(changed)
        kept = environment.kept is not None and environment.kept.version == number
        if environment.live == number or kept:
            fallback = payload.falls_back.get(name)
            if fallback is None:
                view.put_environment(
                    replace(
                        view.environment(name),
                        live=None,
                        kept=None,
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
    state, name = view.version(version_of(event)), environment_of(event)
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
    if payload.request_id:
        request_state.add_evidence(view, event, payload)
    drift_state.ran(view, event, payload)
