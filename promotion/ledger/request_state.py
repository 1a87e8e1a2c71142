"""Reducers for requests: opened, voted on, updated with evidence, and closed."""

from __future__ import annotations

from msgspec.structs import replace

from promotion import names
from promotion.domain.gate_result import Measured
from promotion.domain.model import RUNS_REMEMBERED, Closed, ClosedState, Ending, EnvironmentState, Request, Vote
from promotion.domain.package_changes import asking_stop, package_stop
from promotion.domain.request_ids import parse_request_id
from promotion.ledger import payloads
from promotion.ledger.events import Event, environment_of, version_of
from promotion.ledger.snapshot import GroupSnapshot

# The number of endings of earlier requests that a request keeps; the history has all of them.
ENDINGS_REMEMBERED = 5


def current_request(view: GroupSnapshot, version: int, environment: str, attempt: int) -> tuple[Request, bool] | None:
    """Return a version's newest request for an environment, and True if it is the named one."""
    state = view.find_version(version)
    request = state.requests.get(environment) if state else None
    if request is None or attempt < 1 or attempt > request.attempt:
        return None
    return request, request.attempt == attempt


def request_of(event: Event) -> Request:
    """Return the request that an `Approval Requested` event opens.

    Raises:
        TypeError: the event is of another kind.
    """
    payload = event.payload
    if not isinstance(payload, payloads.ApprovalRequested):
        raise TypeError(f"{event.kind} opens no request.")
    request = Request(
        group=event.group,
        version=version_of(event),
        environment=environment_of(event),
        attempt=payload.attempt,
        requested_at=event.time,
        expires_at=payload.expires_at,
        evidence=payload.evidence,
        gates=payload.gates,
        changed=payload.changed,
        evidence_digest=event.part_digest("evidence"),
        gates_digest=event.part_digest("gates"),
    )
    return _with_run(request, event)


def _with_run(request: Request, event: Event) -> Request:
    """Count the completed run of a request's evidence; registered metrics are no run."""
    if request.evidence.source != "inference" or request.evidence.status != "Completed":
        return request
    if any(run.run_id == request.evidence.run_id for run in request.measured):
        return request
    values = {gate.metric: gate.value for gate in request.gates if gate.metric and gate.value is not None}
    run = Measured(run_id=request.evidence.run_id, at=event.time, passed=request.gates_open, values=values)
    return replace(
        request,
        measured=(*request.measured, run)[-RUNS_REMEMBERED:],
        runs=request.runs + 1,
        runs_passed=request.runs_passed + run.passed,
    )


def requested(view: GroupSnapshot, event: Event) -> None:
    """Open a request; the newest one of an environment is the pending one."""
    state, environment, request = (
        view.version(version_of(event)),
        view.environment(environment_of(event)),
        request_of(event),
    )
    if (earlier := state.requests.get(environment.name)) is not None:
        # A repeated request keeps the counts of runs, so that it shows that a version failed three times.
        ended = (*earlier.earlier, *([earlier.ending] if earlier.ending else []))[-ENDINGS_REMEMBERED:]
        counted = replace(
            request, measured=earlier.measured, runs=earlier.runs, runs_passed=earlier.runs_passed, earlier=ended
        )
        request = _with_run(counted, event)
    # A repeated request for the first environment overwrites the registry's approval status; one for a later environment leaves
    # it Approved.
    again = request.attempt > 1 and not state.approvals
    view.put_version(
        replace(
            state,
            requests={**state.requests, environment.name: request},
            statuses=state.with_status(environment.name, names.PENDING).statuses,
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


def superseded(view: GroupSnapshot, event: Event, payload: payloads.RequestSuperseded) -> None:
    """Close a request that a newer version supersedes; a request that came after it is added as closed."""
    if payload.evidence is not None:
        request = Request(
            group=event.group,
            version=version_of(event),
            environment=environment_of(event),
            attempt=parse_request_id(payload.request_id)[3],
            requested_at=event.time,
            expires_at=event.time,
            evidence=payload.evidence,
            gates=payload.gates,
            evidence_digest=event.part_digest("evidence"),
            gates_digest=event.part_digest("gates"),
        )
        state = view.version(request.version)
        view.put_version(replace(state, requests={**state.requests, request.environment: request}))
    close(view, event, "Superseded", superseded_by=payload.by)


def reminded(view: GroupSnapshot, event: Event) -> None:
    """Remember that the approvers of a request were reminded."""
    _change_request(view, event, reminded=True)
    view.put_environment(replace(view.environment(environment_of(event)), pending_reminded=True))


def decided(view: GroupSnapshot, event: Event, payload: payloads.DecisionRecorded) -> None:
    """Add a vote to a request; a rejection closes it."""
    state, name = view.version(version_of(event)), environment_of(event)
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
        close(view, event, "Rejected", votes=votes)
        return
    _change_request(view, event, votes=votes)
    voters = tuple(each.actor for each in votes)
    view.put_environment(replace(view.environment(name), pending_votes=len(votes), pending_voters=voters))


def add_evidence(view: GroupSnapshot, event: Event, payload: payloads.InferenceCompleted) -> None:
    """Replace the evidence of an open request with a further run's; its links and votes stay valid."""
    state = view.version(version_of(event))
    asked = next(request for request in state.requests.values() if request.id == payload.request_id)
    request = replace(
        asked,
        evidence=payload.evidence,
        gates=payload.gates,
        evidence_digest=event.part_digest("evidence"),
        gates_digest=event.part_digest("gates"),
        told_at=event.time if payload.told else asked.told_at,
    )
    request = _with_run(request, event)
    if asked.gates_open and not request.gates_open:
        request = replace(request, failed_at=event.time)
    view.put_version(replace(state, requests={**state.requests, request.environment: request}))
    environment = view.environment(request.environment)
    if environment.pending_id == request.id:
        view.put_environment(replace(environment, pending_gates_open=request.gates_open))


def close(view: GroupSnapshot, event: Event, how: ClosedState, **changes: object) -> None:
    """Close a request, with its status in the environment unless it was approved."""
    name = environment_of(event)
    ending = ended(event, how)
    _change_request(
        view, event, state=how, closed_at=event.time, closed_sequence=event.sequence, ending=ending, **changes
    )
    state = view.version(version_of(event))
    if how != "Approved" and state.statuses.get(name) == names.PENDING:
        view.put_version(state.with_status(name, how))
    environment, request = view.environment(name), state.requests[name]
    if environment.pending_id == request.id:
        environment = nothing_pending(environment)
    if how != "Approved":
        environment = replace(environment, closed=closed(request, event, how))
    view.put_environment(environment)


def closed(request: Request, event: Event, how: ClosedState) -> Closed:
    """Return the list entry of a request closed by `event`."""
    by = event.actor.label if event.actor.kind != "system" else ""
    return Closed(version=request.version, state=how, at=event.time, request_id=request.id, by=by)


def judge_pending(view: GroupSnapshot) -> None:
    """Update each environment's notes on its pending version and on the last that closed, if one of them has changed."""
    for name, environment in view.environments.items():
        if (last := environment.closed) is not None and last.version in view.changed_versions:
            last = replace(last, stop=asking_stop(view.version(last.version)))
            if last != environment.closed:
                environment = replace(environment, closed=last)
                view.put_environment(environment)
        number = environment.pending
        if number is None or not (name in view.changed_environments or number in view.changed_versions):
            continue
        state = view.version(number)
        stop = package_stop(state)
        back = tuple(sorted(place for place, status in state.statuses.items() if status == names.ROLLED_BACK))
        approvers = {
            place: tuple(vote.actor for vote in request.approvals)
            for place, request in sorted(state.requests.items())
            if place != name and request.approvals
        }
        judged = replace(environment, pending_stop=stop, pending_rolled_back=back, pending_approvers=approvers)
        if judged != environment:
            view.put_environment(judged)


def ended(event: Event, how: str) -> Ending:
    """Return how `event` ends a request, as the page of a later request shows it."""
    reason = getattr(event.payload, "reason", "")
    by = "" if event.actor.kind == "system" else event.actor.label
    return Ending(how=how, at=event.time, by=by, reason=reason)


def rolled_back_from(view: GroupSnapshot, event: Event, number: int) -> None:
    """Mark the request with which a version was approved as rolled back."""
    state, name = view.version(number), environment_of(event)
    if (request := state.requests.get(name)) is not None:
        left = replace(request, ending=ended(event, names.ROLLED_BACK))
        view.put_version(replace(state, requests={**state.requests, name: left}))


def _change_request(view: GroupSnapshot, event: Event, **changes: object) -> None:
    state, name = view.version(version_of(event)), environment_of(event)
    request = replace(state.requests[name], **changes)
    view.put_version(replace(state, requests={**state.requests, name: request}))


def nothing_pending(environment: EnvironmentState) -> EnvironmentState:
    """Return the environment without a pending request."""
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
        pending_stop="",
        pending_rolled_back=(),
        pending_approvers={},
    )
