"""Episodes of what is wrong with what is live, as events fold into them: they begin when somebody sees it, and end when nobody
does any more, or when another version goes live.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from promotion import names
from promotion.errors import require
from promotion.ledger.events import Event
from promotion.ledger.payloads import DriftDetected, InferenceCompleted, RetrainingStarted
from promotion.ledger.snapshot import GroupSnapshot

# What another version that goes live begins with.
OVER: Final[dict[str, Any]] = {"drift": False, "drifting": (), "drift_since": None, "broken_since": None}


def ran(view: GroupSnapshot, event: Event, payload: InferenceCompleted) -> None:
    """A run that completed has checked the bytes before it predicted with them."""
    environment = view.environment(_environment(event))
    if payload.drifting is not None:
        say(view, event, names.INFERENCE_SOURCE, drifts=payload.drifting)
    if (
        payload.evidence.status == "Completed"
        and event.version == environment.live
        and environment.broken_since is not None
    ):
        view.put_environment(replace(view.environment(_environment(event)), broken_since=None))


def broken(view: GroupSnapshot, event: Event) -> None:
    """What is live is not what was approved; found again, it has been so since the first time."""
    environment = view.environment(event.environment or "")
    if event.environment and event.version == environment.live:
        view.put_environment(replace(environment, broken_since=environment.broken_since or event.time))


def drifted(view: GroupSnapshot, event: Event, payload: DriftDetected) -> None:
    say(view, event, payload.source, drifts=True)
    if payload.retraining:
        view.put_environment(replace(view.environment(_environment(event)), retrained_at=event.time))


def retrained(view: GroupSnapshot, event: Event, payload: RetrainingStarted) -> None:
    view.put_environment(replace(view.environment(_environment(event)), retraining=payload.execution))


def say(view: GroupSnapshot, event: Event, source: str, *, drifts: bool) -> None:
    """One of those who watch says whether the input of an environment drifts."""
    environment = view.environment(_environment(event))
    others = tuple(name for name in environment.drifting if name != source)
    drifting = (*others, source) if drifts else others
    since = (environment.drift_since or event.time) if drifting else None
    view.put_environment(replace(environment, drift=bool(drifting), drifting=drifting, drift_since=since))


def _environment(event: Event) -> str:
    return require(event.environment, f"event {event.sequence} of {event.group}", "environment")
