"""Compare what is live by the ledger with what was already written to Parameter Store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from promotion import names
from promotion.domain.model import EnvironmentState

# If Parameter Store lacks an older change, the daily verification reports a difference, which the board shows.
JUST_CHANGED = timedelta(minutes=10)
# The most groups whose cursors a page reads, the latest changes first; each needs a query.
MOST_ASKED = 20
# Returns Parameter Store's cursor by group: the sequence number of the last event that was written there.
Written = Callable[[list[str]], Mapping[str, int]]


def is_written(state: EnvironmentState, reached: int | None) -> bool:
    """Return True if Parameter Store has the version that is live by the ledger, or its cursor `reached` is unknown."""
    return reached is None or reached >= state.live_sequence


def cursor_of(applied: Mapping[str, int] | None) -> int | None:
    """Return the cursor of Parameter Store among those of all targets; None if they are unknown."""
    return None if applied is None else applied.get(names.PARAMETERS, 0)


def just_changed(groups: Mapping[str, Mapping[str, EnvironmentState]], now: datetime) -> list[str]:
    """Return the groups in which a version went live just now, the newest change first."""
    changed = {
        name: max(times)
        for name, group in groups.items()
        if (times := [s.live_since for s in group.values() if s.live_since and now - s.live_since < JUST_CHANGED])
    }
    return sorted(changed, key=lambda name: changed[name], reverse=True)[:MOST_ASKED]
