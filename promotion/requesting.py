"""Asking for an environment: the facts of a request, of the older one that it takes the place of, and of its end."""

from __future__ import annotations

from promotion import names
from promotion.gates import evaluate
from promotion.history import Fact
from promotion.journal import World
from promotion.model import SYSTEM, Actor, EnvironmentState, Evidence, Package, Request, request_id
from promotion.view import View


def ask(
    view: View, package: Package, name: str, evidence: Evidence, actor: Actor, world: World, *, changed: str = ""
) -> list[Fact]:
    """The facts that ask for a version to enter `name`; none where a newer version is already there or asking."""
    environment = view.environment(name)
    if environment.live is not None and environment.live >= package.version:
        return []
    facts: list[Fact] = []
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
            Fact(
                kind=names.REQUEST_SUPERSEDED,
                actor=SYSTEM,
                version=environment.pending,
                environment=name,
                data={
                    "request_id": environment.pending_id,
                    "by": request_id(package.group, package.version, name, attempt),
                },
            )
        )
    results = evaluate(rules.gates, evidence, _live_evidence(view, environment))
    facts.append(
        Fact(
            kind=names.APPROVAL_REQUESTED,
            actor=actor,
            version=package.version,
            environment=name,
            data={
                "attempt": attempt,
                "expires_at": world.now + rules.lifetime,
                "evidence": evidence,
                "gates": results,
                "changed": changed,
            },
            evidence_digest=evidence.digest,
        )
    )
    return facts


def expiry(request: Request) -> list[Fact]:
    return [
        Fact(
            kind=names.REQUEST_EXPIRED,
            actor=SYSTEM,
            version=request.version,
            environment=request.environment,
            data={"request_id": request.id},
        )
    ]


def _pending_expired(environment: EnvironmentState, world: World) -> bool:
    """Whether the pending request's time is over, though the sweep has not been by yet."""
    return environment.pending_expires_at is not None and world.now >= environment.pending_expires_at


def _live_evidence(view: View, environment: EnvironmentState) -> Evidence | None:
    """The evidence on which what is live in an environment was admitted."""
    if environment.live is None:
        return None
    request = view.version(environment.live).requests.get(environment.name)
    return request.evidence if request else None
