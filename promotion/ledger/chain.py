"""Consistent read of a group's chain of events during concurrent appends."""

from __future__ import annotations

from promotion.domain.model import Head
from promotion.ledger.checked import LedgerReader, StoredHead
from promotion.ledger.events import Event

# The number of times that a chain is read again after a concurrent append.
READS = 5


def read_chain(ledger: LedgerReader, group: str) -> tuple[Head, list[Event]]:
    """Read a group's head and all events as of one moment."""
    stored, events = read_stored_chain(ledger, group)
    return stored.head, events


def read_stored_chain(ledger: LedgerReader, group: str, *, after: int = 0) -> tuple[StoredHead, list[Event]]:
    """Read a group's head, with the fields stored beside it, and the events after `after`, as of one moment."""
    stored = ledger.stored_head(group)
    for _ in range(READS):
        events = list(ledger.events(group, after=after))
        now = ledger.stored_head(group)
        if now.head == stored.head:
            return now, events
        before, stored = stored, now
    # The head has moved during every read: events appended since the last read of the head are left for the next call.
    return before, [event for event in events if event.sequence <= before.head.sequence]
