"""Inference runs: their measurements, and failures before they began."""

from __future__ import annotations

from promotion import names
from promotion.domain import policy
from promotion.domain.canonical_json import digest
from promotion.domain.model import Evidence
from promotion.domain.people import SYSTEM, Actor
from promotion.domain.registration import carried
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, known
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows.drift import after_run
from promotion.workflows.requests import AddedRun, add_run, ask, fails_anew


def record_inference(
    group: str, version: int, evidence: Evidence, *, context: Context, actor: Actor = SYSTEM
) -> Receipt:
    """Record the results of a run in `evidence.environment`; the version's first one requests approval for the next.

    A further run adds its evidence to the open request. A request closed by a person or by time is not opened again.
    An evaluation that `actor` reports counts as a run.

    Raises:
        Invalid: the version or the environment is unknown.
        Refused: it is a reported evaluation, and the version is not approved there.
    """
    name = evidence.environment or ""
    context.config.environment(name, group)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        state = known(view, version)
        if evidence.run_id in state.runs:
            return f"run {evidence.run_id} is already recorded"
        kept = view.environment(name).kept
        if kept is not None and kept.version == version:
            return f"it measured the package that was version {version} before"
        if evidence.reporter:
            policy.may_be_reported(state, name).require()
        found = carried(evidence, state.package)
        drifting, drift = after_run(view, version, found, context)
        following = context.config.next(name)
        added = add_run(view, state, following, found, context) if following is not None else AddedRun()
        completed = happened(
            payloads.InferenceCompleted(
                evidence=found,
                status=found.status,
                run_id=found.run_id,
                drifting=drifting,
                request_id=added.request_id,
                gates=added.gates,
                told=added.told or fails_anew(state, name, found),
            ),
            actor,
            version=version,
            environment=name,
            evidence_digest=digest(found),
        )
        if following is None or state.statuses.get(name) != names.APPROVED:
            return [completed, *drift]
        if following in state.requests or state.statuses.get(following) != names.PENDING:
            return [completed, *drift]
        return [completed, *drift, *ask(view, state.package, following, found, SYSTEM, context)]

    return append(group, step, context)


def record_failure(group: str, name: str, run_id: str, problem: str, *, broken: bool, context: Context) -> Receipt:
    """Record that a run in `name` failed before it began: there is no new evidence for the live version.

    With `broken`, the run failed because the live record or the artifact's bytes are not those that were approved.

    Raises:
        Invalid: the environment is unknown.
    """
    context.config.environment(name, group)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        live = view.environment(name).live
        if live is None:
            return f"nothing is live in {name}"
        state = known(view, live)
        if run_id in state.runs:
            return f"run {run_id} is already recorded"
        evidence = Evidence(source="inference", environment=name, run_id=run_id, status="Failed", problem=problem)
        facts = [
            happened(
                payloads.InferenceCompleted(
                    evidence=evidence, status=evidence.status, run_id=run_id, told=fails_anew(state, name, evidence)
                ),
                SYSTEM,
                version=live,
                environment=name,
                evidence_digest=digest(evidence),
            )
        ]
        if broken:
            found = payloads.IntegrityBroken(problem=problem, run_id=run_id)
            facts.append(happened(found, SYSTEM, version=live, environment=name))
        return facts

    return append(group, step, context)
