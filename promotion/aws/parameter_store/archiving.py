"""Moving histories of versions from Parameter Store to the archive, and adding to histories that are there.

A history is written to the archive and named in its index before its parameters are deleted. If a process stops in
between, the history is in both places, and the next try deletes the parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from promotion import names
from promotion.aws.parameter_store.archive import Archive, KeptIndex
from promotion.aws.parameter_store.stored_parameters import read_histories, read_pages
from promotion.client.live_record import read_json
from promotion.domain.model import VersionState
from promotion.errors import IntegrityError
from promotion.ledger.archive import (
    ArchivedHistory,
    ArchivedVersion,
    ArchiveIndex,
    in_use,
    joined_entries,
    may_be_archived,
    with_versions,
)
from promotion.ledger.comparing import is_page, page_number
from promotion.ledger.events import Event
from promotion.ledger.parameter_documents import entry, pages_of, version_document
from promotion.ledger.snapshot import GroupSnapshot

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters

# A projection has a minute, and Parameter Store deletes three names a second; a version has at most a handful.
MOST_AT_ONCE = 5
_VERSION = re.compile(r"[1-9][0-9]*")


class Archiving:
    """The archive for the projection to Parameter Store; `keep` is `[history] keep_versions`."""

    def __init__(self, client: Parameters, archive: Archive, prefix: str, keep: int | None) -> None:
        self._client = client
        self._archive = archive
        self._prefix = prefix
        self.keep = keep

    def past(self, state: VersionState) -> ArchivedHistory | None:
        """Return the archived history of a version; None if there is none.

        Raises:
            IntegrityError: the index or the history was changed or is missing.
        """
        named = self._archive.index(state.group).index.version(state.version)
        return self._archive.history(named) if named is not None else None

    def append(self, state: VersionState, past: ArchivedHistory, events: Sequence[Event]) -> None:
        """Write an archived version to the archive again, with its current attributes and its events since then."""
        newer = [entry(event) for event in events]
        self.keep_history(state, joined_entries(past.history, newer), whole=True)

    def keep_history(self, state: VersionState, entries: Sequence[dict[str, object]], *, whole: bool) -> None:
        """Write a version's entries to the archive and name them in the index, unless that was done before."""
        kept = self._archive.index(state.group)
        self._name(kept, {state.version: self._history(state, entries, whole=whole)})

    def mend(self, view: GroupSnapshot, without: int | None = None) -> ArchiveIndex:
        """Replace the index if it can't be read, has versions that the ledger doesn't know, or has the version `without`.

        The repair of each version adds it again, where only the damaged index had it.

        Returns:
            The index that is in effect.
        """
        try:
            kept = self._archive.index(view.group)
        except IntegrityError:
            kept = self._archive.begin_anew(view.group)
        versions = kept.index.versions
        known = {number: named for number, named in versions.items() if view.find_version(int(number))}
        known.pop(str(without), None)
        return self._archive.change(kept, ArchiveIndex(model_package_group=view.group, versions=known)).index

    def is_old(self, view: GroupSnapshot, number: int, named: ArchivedVersion | None) -> bool:
        """Return True if a repaired version needs no parameters."""
        if number in in_use(view):
            return False
        if named is not None:
            return named.whole
        return self.keep is not None and number in may_be_archived(
            view, {number, *versions_of(self._below(view.group))}, self.keep
        )

    def move_old(self, view: GroupSnapshot) -> None:
        """Move the versions of a group beyond those that are kept, a few at a time, and delete their parameters."""
        if self.keep is None:
            return
        below = self._below(view.group)
        old = may_be_archived(view, set(versions_of(below)), self.keep)[:MOST_AT_ONCE]
        if not old:
            return
        kept = self._archive.index(view.group)
        moved: dict[int, ArchivedVersion] = {}
        for number in old:
            state = view.find_version(number)
            entries = self._entries(view.group, number, below, kept.index)
            # Damaged or unknown parameters stay: `verify` reports them, and its repair archives the version.
            if state is not None and entries:
                moved[number] = self._history(state, entries, whole=True)
        self._name(kept, moved)
        for number in moved:
            self.delete(view.group, number, below)

    def delete(self, group: str, number: int, below: Mapping[str, str] | None = None) -> None:
        """Delete the parameters of a version, its own parameter last, because that one leads to the others."""
        base = names.version_parameter(self._prefix, group, number)
        found = self._below(group) if below is None else below
        for name in [*sorted(name for name in found if is_page(name, base)), *([base] if base in found else [])]:
            try:
                self._client.delete_parameter(Name=name)
            except self._client.exceptions.ParameterNotFound:
                continue

    def _history(self, state: VersionState, entries: Sequence[dict[str, object]], *, whole: bool) -> ArchivedVersion:
        history = ArchivedHistory(
            model_package_group=state.group,
            model_package_version=state.version,
            attributes=version_document(state) if whole else {},
            history=tuple(entries),
        )
        return self._archive.keep(history)

    def _name(self, kept: KeptIndex, archived: Mapping[int, ArchivedVersion]) -> None:
        if archived:
            self._archive.change(kept, with_versions(kept.index, archived))

    def _entries(
        self, group: str, number: int, below: Mapping[str, str], index: ArchiveIndex
    ) -> list[dict[str, object]] | None:
        """Return the whole history of a version from the archive and Parameter Store; None if a part can't be read."""
        base = names.version_parameter(self._prefix, group, number)
        named = index.version(number)
        try:
            past = list(self._archive.history(named).history) if named is not None else []
            pages = {page_number(name): value for name, value in below.items() if is_page(name, base)}
            document = read_json(below[base])
            newer = read_pages(pages, pages_of(document), tolerant=named is not None) + list(document["history"])
            entries = joined_entries(past, newer)
        except (IntegrityError, KeyError, ValueError, TypeError, AttributeError):
            return None
        complete = bool(entries) and entries[-1].get("sequence") == document.get("last")
        return entries if complete else None

    def _below(self, group: str) -> dict[str, str]:
        path = f"{self._prefix}/{group}/versions"
        return dict(read_histories(self._client, path))


def versions_of(below: Mapping[str, str]) -> Iterator[int]:
    """Yield the numbers of versions that have their own parameter, from the names of parameters."""
    for name in below:
        number = name.rpartition("/versions/")[2]
        if _VERSION.fullmatch(number):
            yield int(number)
