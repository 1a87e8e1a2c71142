"""Approval requests: events of a new request, of the one that it supersedes, and of its end."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from promotion.domain import freezes, policy
from promotion.domain.canonical_json import digest
from promotion.domain.gate_result import GateResult
from promotion.domain.gates import evaluate
from promotion.domain.model import EnvironmentState, Evidence, Package, Request, VersionState
from promotion.domain.people import SYSTEM, Actor
from promotion.domain.request_ids import request_id
from promotion.ledger import payloads
from promotion.ledger.append import Context
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.snapshot import GroupSnapshot

# The least time between two mails to approvers about a request whose gates change with every run.
TOLD_AGAIN_AFTER = timedelta(days=1)


class AddedRun(Struct, frozen=True, kw_only=True):
    """The open request that a run adds evidence to, its gates' results now, and whether its approvers are mailed."""

    request_id: str = ""
    gates: tuple[GateResult, ...] = ()
    told: bool = False


def ask(
    view: GroupSnapshot,
    package: Package,
    name: str,
    evidence: Evidence,
    actor: Actor,
    context: Context,
    *,
    changed: str = "",
) -> list[NewEvent]:
    """Return the events that request `name` for a version, which is neither live there nor revoked.

    If a newer version is live or pending there, this version's request is recorded as superseded at once.
    """
    environment = view.environment(name)
    facts: list[NewEvent] = []
    state = view.find_version(package.version)
    before = state.requests.get(name) if state else None
    earlier = state.attempts.get(name, 0) if state else 0
    attempt = (before.attempt if before else earlier) + 1
    rules = context.config.environment(name, package.group)
    results = evaluate(rules.gates, evidence, view.live_evidence(name))
    newer = policy.overtaken_by(package.version, environment, context.now)
    if newer is not None:
        late = payloads.RequestSuperseded(
            request_id=request_id(package.group, package.version, name, attempt),
            by=_request_of(view, newer, name),
            evidence=evidence,
            gates=results,
        )
        return [happened(late, SYSTEM, version=package.version, environment=name)]
    if environment.pending is not None and _pending_expired(environment, context):
        facts += expiry(view.version(environment.pending).requests[name])
    elif environment.pending is not None:
        facts.append(
            happened(
                payloads.RequestSuperseded(
                    request_id=environment.pending_id, by=request_id(package.group, package.version, name, attempt)
                ),
                SYSTEM,
                version=environment.pending,
                environment=name,
            )
        )
    facts.append(
        happened(
            payloads.ApprovalRequested(
                attempt=attempt,
                expires_at=freezes.after(context.now, rules.lifetime, freezes.windows_of(context.config, name)),
                evidence=evidence,
                gates=results,
                changed=changed,
            ),
            actor,
            version=package.version,
            environment=name,
            evidence_digest=digest(evidence),
        )
    )
    return facts


def add_run(view: GroupSnapshot, state: VersionState, following: str, evidence: Evidence, context: Context) -> AddedRun:
    """Return the effect of a further run on the version's open request for `following`; nothing if there is none.

    A failed run measured nothing, so the evidence of the last completed run stays in force.
    """
    request = state.requests.get(following)
    if request is None or request.state_at(context.now) != "Pending" or evidence.status != "Completed":
        return AddedRun()
    rules = context.config.environment(following, state.group)
    gates = evaluate(rules.gates, evidence, view.live_evidence(following))
    turned = all(gate.open for gate in gates) != request.gates_open
    quiet = request.told_at is not None and context.now - request.told_at < TOLD_AGAIN_AFTER
    return AddedRun(request_id=request.id, gates=gates, told=turned and not quiet)


def fails_anew(state: VersionState, name: str, found: Evidence) -> bool:
    """Return True if a run failed and the previous one did not: the requester is mailed once, not every hour."""
    before = state.evidence.get(name)
    return found.status == "Failed" and (before is None or before.status != "Failed")


def expiry(request: Request) -> list[NewEvent]:
    """Return the event that expires a request."""
    return [
        happened(
            payloads.RequestExpired(request_id=request.id),
            SYSTEM,
            version=request.version,
            environment=request.environment,
        )
    ]


def _pending_expired(environment: EnvironmentState, context: Context) -> bool:
    """Return True if the pending request is past its expiry, even before the sweep records it."""
    return environment.pending_expires_at is not None and context.now >= environment.pending_expires_at


def _request_of(view: GroupSnapshot, version: int, name: str) -> str:
    """Return the id of a version's newest request for an environment; empty for a version adopted there."""
    state = view.find_version(version)
    request = state.requests.get(name) if state else None
    return request.id if request else ""
