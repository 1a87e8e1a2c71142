"""Asking for an environment: the facts of a request, of the older one that it takes the place of, and of its end."""

from __future__ import annotations

from promotion.domain.gates import evaluate
from promotion.domain.model import SYSTEM, Actor, EnvironmentState, Evidence, Package, Request, digest, request_id
from promotion.ledger import payloads
from promotion.ledger.append import Context
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.snapshot import GroupSnapshot


def ask(
    view: GroupSnapshot,
    package: Package,
    name: str,
    evidence: Evidence,
    actor: Actor,
    world: Context,
    *,
    changed: str = "",
) -> list[NewEvent]:
    """The facts that ask for a version to enter `name`; none where a newer version is already there or asking."""
    environment = view.environment(name)
    if environment.live is not None and environment.live >= package.version:
        return []
    facts: list[NewEvent] = []
    state = view.find_version(package.version)
    if state is not None and state.revoked:
        return []
    before = state.requests.get(name) if state else None
    attempt = before.attempt + 1 if before else 1
    rules = world.config.environment(name, package.group)
    if environment.pending is not None and _pending_expired(environment, world):
        facts += expiry(view.version(environment.pending).requests[name])
    elif environment.pending is not None:
        if environment.pending > package.version:
            return []
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
    results = evaluate(rules.gates, evidence, _live_evidence(view, environment))
    facts.append(
        happened(
            payloads.ApprovalRequested(
                attempt=attempt,
                expires_at=world.now + rules.lifetime,
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


def expiry(request: Request) -> list[NewEvent]:
    return [
        happened(
            payloads.RequestExpired(request_id=request.id),
            SYSTEM,
            version=request.version,
            environment=request.environment,
        )
    ]


def _pending_expired(environment: EnvironmentState, world: Context) -> bool:
    """Whether the pending request's time is over, though the sweep has not been by yet."""
    return environment.pending_expires_at is not None and world.now >= environment.pending_expires_at


def _live_evidence(view: GroupSnapshot, environment: EnvironmentState) -> Evidence | None:
    """The evidence on which what is live in an environment was admitted."""
    if environment.live is None:
        return None
    request = view.version(environment.live).requests.get(environment.name)
    return request.evidence if request else None
