"""Tell what the ledger has decided from what Parameter Store has by now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from promotion import names
from promotion.domain.model import EnvironmentState

# Older changes that Parameter Store lacks are differences of the daily verification, and on the board as such.
JUST_CHANGED = timedelta(minutes=10)
# Groups whose cursors one page asks for, those that changed last: each is a query.
MOST_ASKED = 20
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
# Returns the cursors of Parameter Store, the sequence number of the last event that was written to it, by group.
Written = Callable[[list[str]], Mapping[str, int]]


def is_written(state: EnvironmentState, reached: int | None) -> bool:
    """Return True if Parameter Store has what the ledger says is live; `reached` is its cursor, None if that is unknown."""
    return reached is None or reached >= state.live_sequence


def cursor_of(applied: Mapping[str, int] | None) -> int | None:
    """Return the cursor of Parameter Store among those of all targets; None if they are unknown."""
    return None if applied is None else applied.get(names.PARAMETERS, 0)


def just_changed(groups: Mapping[str, Mapping[str, EnvironmentState]], now: datetime) -> list[str]:
    """Return the groups in which a version went live just now, the newest change first."""
    changed = {
        name: max((s.live_since for s in group.values() if s.live_since), default=_LONG_AGO)
        for name, group in groups.items()
    }
    newest = sorted(
        (name for name in changed if now - changed[name] < JUST_CHANGED), key=lambda name: changed[name], reverse=True
    )
    return newest[:MOST_ASKED]
