"""Storms of requests: several of one group for one environment, soon after one another. Approvers get mail about the newest."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

# A storm that doesn't end: mail waits for at most so many times `[advanced.mail] settle`.
LONGEST_WAIT = 5


class Storm(Struct, frozen=True, kw_only=True):
    """The newest requests of a group for an environment, by the sequence numbers of their events.

    Args:
        sequence: The newest request.
        last_at: When it was made.
        mailed_at: When approvers were mailed last.
        held: The request whose mail waits; None if none does.
        told: The newest request that channels were told of.
    """

    sequence: int
    last_at: datetime
    mailed_at: datetime
    held: int | None = None
    told: int = 0

    def due(self, settle: timedelta) -> datetime | None:
        """Return when the waiting mail goes out if no other request comes first; None if none waits."""
        if self.held is None:
            return None
        return min(self.last_at + settle, self.mailed_at + LONGEST_WAIT * settle)


def requested(storm: Storm | None, sequence: int, at: datetime, settle: timedelta) -> Storm:
    """Add a request; its mail waits if the one before came less than `settle` ago, or waits itself.

    The same request once more, after a crash, changes nothing.
    """
    if storm is None:
        return Storm(sequence=sequence, last_at=at, mailed_at=at)
    if storm.sequence == sequence:
        return storm
    if storm.held is None and at - storm.last_at >= settle:
        return Storm(sequence=sequence, last_at=at, mailed_at=at)
    return replace(storm, sequence=sequence, last_at=at, held=sequence)


def mailed(storm: Storm, at: datetime) -> Storm:
    """Nothing waits any more."""
    return replace(storm, held=None, mailed_at=at)
