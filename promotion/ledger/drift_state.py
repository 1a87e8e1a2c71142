"""Reducers for episodes of a live version: drift, failed runs, broken integrity.

An episode begins with the first report. It ends when no source reports the problem any more, or another version goes live.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from promotion import names
from promotion.formatting import one_line
from promotion.ledger.events import Event, environment_of
from promotion.ledger.payloads import DriftDetected, InferenceCompleted, RetrainingStarted
from promotion.ledger.snapshot import GroupSnapshot

# Initial fields of a version that goes live.
OVER: Final[dict[str, object]] = {
    "drift": False, "drifting": (), "drift_since": None, "broken_since": None, "failed_since": None, "failure": "",
}  # fmt: skip
LONGEST_FAILURE = 300


def ran(view: GroupSnapshot, event: Event, payload: InferenceCompleted) -> None:
    """Apply an inference run. One that completed verified the artifact's digest, so it ends an integrity episode."""
    if payload.drifting is not None:
        set_drift(view, event, names.INFERENCE_SOURCE, drifts=payload.drifting)
    environment, evidence = view.environment(environment_of(event)), payload.evidence
    if event.version != environment.live:
        return
    if evidence.status == "Completed":
        changed = replace(environment, broken_since=None, failed_since=None, failure="")
    else:
        failure = one_line(evidence.problem, LONGEST_FAILURE)
        changed = replace(environment, failed_since=environment.failed_since or event.time, failure=failure)
    if changed != environment:
        view.put_environment(changed)


def broken(view: GroupSnapshot, event: Event) -> None:
    """Record an integrity episode, keeping the time of its first report."""
    environment = view.environment(event.environment or "")
    if event.environment and event.version == environment.live:
        view.put_environment(replace(environment, broken_since=environment.broken_since or event.time))


def drifted(view: GroupSnapshot, event: Event, payload: DriftDetected) -> None:
    """Apply a drift report, and remember the time if it starts a retraining."""
    set_drift(view, event, payload.source, drifts=True)
    if payload.retraining:
        view.put_environment(replace(view.environment(environment_of(event)), retrained_at=event.time))


def retrained(view: GroupSnapshot, event: Event, payload: RetrainingStarted) -> None:
    """Remember the pipeline execution that retrains the model."""
    view.put_environment(replace(view.environment(environment_of(event)), retraining=payload.execution))


def set_drift(view: GroupSnapshot, event: Event, source: str, *, drifts: bool) -> None:
    """Apply the report of one drift source for an environment."""
    environment = view.environment(environment_of(event))
    others = tuple(name for name in environment.drifting if name != source)
    drifting = (*others, source) if drifts else others
    since = (environment.drift_since or event.time) if drifting else None
    view.put_environment(replace(environment, drift=bool(drifting), drifting=drifting, drift_since=since))
