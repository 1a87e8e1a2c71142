"""A page of the board, ordered by group name, as read from the ledger."""

from __future__ import annotations

from msgspec import Struct

from promotion.domain.model import EnvironmentState


class BoardPage(Struct, frozen=True, kw_only=True):
    """All states of consecutive groups by name, from the group `first` to the group `last`.

    `earlier` and `later` are True if there are groups before and after them; `first` and `last` are empty on an empty page.
    """

    states: tuple[EnvironmentState, ...] = ()
    first: str = ""
    last: str = ""
    earlier: bool = False
    later: bool = False
