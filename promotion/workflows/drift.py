"""Drift of a live model's input: record it, ask for a decision, and start the retraining pipeline.

An episode of drift begins with the first measurement above the bound and ends with one below it, or when another version goes
live. People are notified once per episode and source, and each episode starts one retraining at most: a pipeline trains for
hours, and every scheduled run in that time would find the same drift again.
"""

from __future__ import annotations

from msgspec.structs import replace

from promotion import names
from promotion.domain.gates import largest_drift
from promotion.domain.model import EnvironmentState, Evidence
from promotion.domain.people import SYSTEM
from promotion.formatting import number
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, known
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.snapshot import GroupSnapshot

# Statuses of versions that are not promoted further.
_ENDED = frozenset({names.REJECTED, names.EXPIRED, names.REVOKED})


def after_run(
    view: GroupSnapshot, version: int, evidence: Evidence, context: Context
) -> tuple[bool | None, list[NewEvent]]:
    """Decide whether a run shows drift of the live model's input, and what to do about it.

    None without a finding: drift is not configured for the environment, the version is not live there, nothing was measured, or
    there were so few records that the index is mostly chance: it grows by about 1/records for each bin that is compared.
    """
    name, bound = evidence.environment or "", context.config.drift.largest_psi
    measured = largest_drift(evidence)
    watched = name in context.config.drift_environments and view.environment(name).live == version
    few = evidence.counts.get("records", 0) < context.config.drift.min_records
    if not watched or bound is None or measured is None or few or evidence.status != "Completed":
        return None, []
    if not measured > bound:
        return False, []
    said = f"The largest population stability index of the inputs is {number(measured)}; the bound is {number(bound)}."
    found = payloads.DriftDetected(run_id=evidence.run_id, drift=evidence.drift, bound=bound, reason=said)
    return True, _detected(view, view.environment(name), found, context)


def record_monitoring(
    group: str, name: str, source: str, violations: int, reason: str, *, context: Context, report: str = ""
) -> Receipt:
    """Record a monitor's result for the live model's input in `name`: its number of violations.

    Raises:
        Invalid: the environment is unknown.
    """
    context.config.environment(name, group)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        environment = view.environment(name)
        if environment.live is None:
            return f"nothing is live in {name}"
        if not violations:
            if source not in environment.drifting:
                return "there is no drift, as before"
            ended = payloads.DriftEnded(source=source)
            return [happened(ended, SYSTEM, version=environment.live, environment=name)]
        found = payloads.DriftDetected(source=source, violations=violations, reason=reason, report=report)
        return _detected(view, environment, found, context) or "this drift is recorded already"

    return append(group, step, context)


def record_retraining(
    group: str, name: str, version: int, pipeline: str, execution: str, *, context: Context
) -> Receipt:
    """Record that a pipeline was started because the input of `version` drifts.

    Raises:
        Invalid: the version or the environment is unknown.
    """
    context.config.environment(name, group)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        known(view, version)
        if view.environment(name).retraining == execution:
            return "this retraining is recorded already"
        started = payloads.RetrainingStarted(pipeline=pipeline, execution=execution)
        return [happened(started, SYSTEM, version=version, environment=name)]

    return append(group, step, context)


def _detected(
    view: GroupSnapshot, environment: EnvironmentState, found: payloads.DriftDetected, context: Context
) -> list[NewEvent]:
    """Return the event if it is new: a new source, or a postponed retraining that can start now."""
    pipeline, held = _retraining(view, environment, context)
    if found.source in environment.drifting and not pipeline:
        return []
    detected = replace(found, retraining=pipeline, retraining_held=held)
    return [happened(detected, SYSTEM, version=environment.live, environment=environment.name)]


def _retraining(view: GroupSnapshot, environment: EnvironmentState, context: Context) -> tuple[str, str]:
    """Return the pipeline to start, and the reason if none is started; both empty if none is configured."""
    configured = context.config.retraining(view.group)
    if configured is None:
        return "", ""
    since, last = environment.drift_since, environment.retrained_at
    if since is not None and last is not None and last >= since:
        return "", "this drift has started a retraining already"
    if last is not None and context.now < last + configured.pause:
        return "", f"the last one was started less than {configured.again_after} ago"
    if (newer := _on_its_way(view, environment)) is not None:
        return "", f"version {newer} is on its way"
    return configured.pipeline, ""


def _on_its_way(view: GroupSnapshot, environment: EnvironmentState) -> int | None:
    """Return a version newer than the live one that may still be approved here: it was not turned down."""
    live = environment.live or 0
    newest = max((n for e in view.environments.values() for n in (e.live, e.pending) if n is not None), default=0)
    state = view.find_version(newest) if newest > live else None
    if state is None or state.revoked or _ENDED & set(state.statuses.values()):
        return None
    return newest
