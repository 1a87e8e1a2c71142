"""Episodes of drift, as events fold into them: they begin when somebody sees drift, and last while anybody does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from promotion import names
from promotion.history import Event

if TYPE_CHECKING:
    from promotion.states import View


def drifted(view: View, event: Event) -> None:
    say(view, event, event.data.get("source", names.INFERENCE_SOURCE), drifts=True)
    if event.data.get("retraining"):
        view.put_environment(replace(view.environment(_environment(event)), retrained_at=event.time))


def ended(view: View, event: Event) -> None:
    say(view, event, event.data["source"], drifts=False)


def retrained(view: View, event: Event) -> None:
    view.put_environment(replace(view.environment(_environment(event)), retraining=event.data["execution"]))


def say(view: View, event: Event, source: str, *, drifts: bool) -> None:
    """One of those who watch says whether the input of an environment drifts."""
    environment = view.environment(_environment(event))
    others = tuple(name for name in environment.drifting if name != source)
    drifting = (*others, source) if drifts else others
    since = (environment.drift_since or event.time) if drifting else None
    view.put_environment(replace(environment, drift=bool(drifting), drifting=drifting, drift_since=since))


def _environment(event: Event) -> str:
    assert event.environment is not None, event.kind
    return event.environment
