"""Interfaces of the stores that a verification reads and repairs: the ledger, the registry, Parameter Store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from promotion.domain.model import Head, VersionState
from promotion.ledger.events import Difference, Event
from promotion.ledger.snapshot import GroupSnapshot


class StoredHead(Struct, frozen=True):
    """A group's head, and the differences between it and the fields stored beside it in the same item.

    `active` is True if the item is in the index of active groups; None where there is no index.
    """

    head: Head
    beside: tuple[Difference, ...] = ()
    active: bool | None = None

    def differences(self, view: GroupSnapshot) -> tuple[Difference, ...]:
        """Compare what is stored beside the head with it and with the folded states."""
        if self.active in (None, view.is_active):
            return self.beside
        where, said = f"{self.head.group} head, board_pk", {True: "OPEN", False: "nothing"}
        wrong = Difference(what="ledger", where=where, expected=said[view.is_active], found=said[not view.is_active])
        return (*self.beside, wrong)


class LedgerReader(Protocol):
    """The part of the ledger that a verification reads."""

    def stored_head(self, group: str) -> StoredHead:
        """Return the group's stored head, by one read."""

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the group's events after a sequence number, in order."""

    def stored_states(self, group: str) -> tuple[dict[str, str], dict[int, str]]:
        """Return the stored states as JSON: of environments by name, of versions by number."""


class Registry(Protocol):
    """The registry's fields of a version, found and expected."""

    def found(self, state: VersionState) -> dict[str, str] | None:
        """Return the fields in the registry; None if the version was deleted there."""

    def expected(self, state: VersionState) -> dict[str, str]:
        """Return the fields that the registry should have."""

    def repair(self, state: VersionState) -> None:
        """Write the expected fields into the registry."""


class Store(Protocol):
    """Parameter Store, to repair differences."""

    def put_live(self, view: GroupSnapshot, name: str, *, anew: bool = False) -> None:
        """Write an environment's live parameter; `anew` writes it even if it is unchanged."""

    def rewrite_version(self, view: GroupSnapshot, state: VersionState, events: Sequence[Event]) -> None:
        """Write a version's parameters, or its archived history, from its state and events."""

    def mend_archive(self, view: GroupSnapshot) -> None:
        """Write the archive parameter again, without index entries that can't be read or whose version is unknown."""

    def remove(self, name: str) -> None:
        """Delete a parameter."""
