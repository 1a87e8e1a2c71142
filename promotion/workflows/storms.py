"""Debounced mail for bursts of requests of one group for one environment: approvers get mail about the newest only."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

# The longest delay of mail in a burst that doesn't end, as a multiple of `[advanced.mail] settle`.
LONGEST_WAIT = 5


class Storm(Struct, frozen=True, kw_only=True):
    """The newest requests of a group for an environment. Requests are named by the sequence numbers of their events.

    Args:
        sequence: The newest request.
        last_at: Time of the newest request.
        mailed_at: Time of the last mail to approvers.
        held: The request whose mail is delayed; None if there is none.
        told: The newest request that channels were notified of.
    """

    sequence: int
    last_at: datetime
    mailed_at: datetime
    held: int | None = None
    told: int = 0

    def due(self, settle: timedelta) -> datetime | None:
        """Return when the delayed mail is sent if no other request comes first; None if no mail is delayed."""
        if self.held is None:
            return None
        return min(self.last_at + settle, self.mailed_at + LONGEST_WAIT * settle)


def requested(storm: Storm | None, sequence: int, at: datetime, settle: timedelta) -> Storm:
    """Add a request; its mail is delayed if the previous request came less than `settle` before, or has delayed mail.

    Idempotent: adding the newest request again, after a crash, changes nothing.
    """
    if storm is None:
        return Storm(sequence=sequence, last_at=at, mailed_at=at)
    if storm.sequence == sequence:
        return storm
    if storm.held is None and at - storm.last_at >= settle:
        return Storm(sequence=sequence, last_at=at, mailed_at=at)
    return replace(storm, sequence=sequence, last_at=at, held=sequence)


def mailed(storm: Storm, at: datetime) -> Storm:
    """Record that the mail was sent, so that none is delayed any more."""
    return replace(storm, held=None, mailed_at=at)
