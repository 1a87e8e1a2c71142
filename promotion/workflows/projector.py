"""Project ledger events to each target, from the target's cursor up to the head.

Cursors are not events. If a cursor is lost, its target is projected again from the first event; every target
except mail is idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, takewhile
from typing import Protocol

from msgspec import Struct

from promotion import names
from promotion.errors import IntegrityError
from promotion.ledger.append import Ledger
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot

# The number of events that are projected between two writes of a cursor, also in a rebuild of a long history.
BATCH = 100
# Publish to the bus only after Parameter Store is up to date; otherwise consumers resolve the previous version.
FOLLOWS = {names.EVENTS: names.PARAMETERS}


class Target(Protocol):
    """A projection target: the registry, Parameter Store, the event bus, mail or the attestations.

    With `one_by_one`, the cursor is written after each event, for targets that are not idempotent.
    """

    one_by_one: bool

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        """Apply `events` to the target. It must be idempotent."""


class Cursors(Protocol):
    """Cursor of each target (sequence number of its last projected event), per group."""

    def read(self, group: str) -> dict[str, int]:
        """Sequence number of the last projected event, by target; a target without one counts as 0."""

    def advance(self, group: str, target: names.TargetName, sequence: int) -> None:
        """Move a cursor forward, never back."""


class Failure(Struct, frozen=True, kw_only=True):
    """A target to which events could not be projected, and the error."""

    group: str
    target: names.TargetName
    sequence: int
    error: str


def project(
    group: str, *, ledger: Ledger, cursors: Cursors, targets: Mapping[names.TargetName, Target]
) -> tuple[list[Failure], dict[str, int]]:
    """Project new events to every target, in the order given; a failing target doesn't stop the others.

    Every target is projected up to the head at the start of this call; otherwise an event that is appended during the call
    could reach a later target before an earlier one. A target in FOLLOWS is projected only up to the cursor of the target that
    it follows.

    Returns:
        The failures, and the cursors afterwards.
    """
    failures: list[Failure] = []
    at = cursors.read(group)
    end = ledger.view(group).head.sequence
    for name, target in targets.items():
        leader = FOLLOWS.get(name)
        until = min(end, at.get(leader, 0)) if leader is not None and leader in targets else end
        try:
            at[name] = _project_one(group, name, target, at.get(name, 0), until, ledger, cursors)
        except Exception as error:  # noqa: BLE001 - whatever one target raises, the others go on, and it is reported whole
            failures.append(
                Failure(group=group, target=name, sequence=at.get(name, 0), error=f"{type(error).__name__}: {error}")
            )
    return failures, at


def _project_one(
    group: str, name: names.TargetName, target: Target, start: int, until: int, ledger: Ledger, cursors: Cursors
) -> int:
    # A lazy iterator, so that a long history is read only once and not again for each batch.
    events = takewhile(lambda event: event.sequence <= until, ledger.events(group, after=start))
    while True:
        batch = list(islice(events, BATCH))
        # The view is read after the events, never before, so that it includes at least these events.
        view = ledger.view(group)
        if start > view.head.sequence:
            raise IntegrityError(
                f"{name} stands at event {start}, the ledger ends at {view.head.sequence}: its tail was cut, or an older copy "
                "restored. See docs/history.md, then `promotion rebuild`."
            )
        for step in ([event] for event in batch) if target.one_by_one else ([batch] if batch else []):
            target.project(view, step)
            start = step[-1].sequence
            cursors.advance(group, name, start)
        if len(batch) < BATCH:
            return start
