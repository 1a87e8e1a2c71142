"""Verification of a group's archive. Pure, apart from the given function that reads an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from promotion import names
from promotion.domain.model import VersionState
from promotion.ledger.archive import (
    FIELD,
    ArchivedHistory,
    ArchiveIndex,
    named_history,
    read_history,
    read_index,
    read_name,
)
from promotion.ledger.comparing import short
from promotion.ledger.events import Difference
from promotion.ledger.folded_runs import sequence_of
from promotion.ledger.parameter_documents import version_document


class ArchiveCheck:
    """A group's index, and the histories that it names; `difference` is the index's own difference, if any."""

    def __init__(self, prefix: str, group: str, value: str | None, text: Callable[[str], bytes | None]) -> None:
        """Read the index.

        Args:
            prefix: The prefix of all parameters.
            group: The group's name.
            value: The group's archive parameter; None if there is none.
            text: Reads an object; None if there is none.
        """
        self.parameter = names.archive_parameter(prefix, group)
        self.difference: Difference | None = None
        self._text = text
        self._index = ArchiveIndex(model_package_group=group)
        if value is None:
            return
        named = read_name(value, group)
        found = read_index(text(named.object), named) if named is not None else None
        if found is not None:
            self._index = found
            return
        what, where = ("parameter", self.parameter) if named is None else ("evidence", named.object)
        self.difference = Difference(
            what=what, where=where, expected=f"the index of the archive of {group}", found="nothing or something else"
        )

    def unknown_versions(self, known: Sequence[int]) -> Difference | None:
        """Return a difference if the index names a version that is not in the ledger."""
        unknown = sorted(set(self._index.versions) - set(map(str, known)))
        if not unknown:
            return None
        return Difference(what="parameter", where=self.parameter, expected="no such version", found=f"v{unknown[0]}")

    def past(
        self, state: VersionState, wanted: Sequence[dict[str, object]], *, read: bool
    ) -> ArchivedHistory | Difference | None:
        """Return the archived history of a version; None if there is none, a difference if it is missing or changed.

        Args:
            state: The version's state.
            wanted: The entries that its history should have.
            read: Whether to read the object in any case. Else an object is taken to be there if the index names the SHA-256
                of what it should hold.
        """
        named = self._index.version(state.version)
        if named is None:
            return None
        should = ArchivedHistory(
            model_package_group=state.group,
            model_package_version=state.version,
            attributes=version_document(state) if named.whole else {},
            history=tuple(each for each in wanted if sequence_of(each) <= named.last),
        )
        if not read and should.history and named_history(should) == named:
            return should
        found = read_history(self._text(named.object), named)
        if found is None or not found.history or named_history(found) != named:
            return Difference(
                what="evidence",
                where=named.object,
                expected=f"the history of v{state.version} up to event {named.last}",
                found="nothing or something else",
            )
        return found

    def marked(self, base: str, state: VersionState, document: dict[str, object]) -> Difference | None:
        """Return a difference if a version's own parameter counts more events as archived than the archive has.

        A projector that crashes before it writes the parameter leaves a lower count, which is no difference.
        """
        named, said = self._index.version(state.version), document.get(FIELD, 0)
        last = named.last if named is not None else 0
        if isinstance(said, int) and said <= last:
            return None
        return Difference(
            what="parameter", where=f"{base} {FIELD}", expected=f"event {last} at most", found=short(said)
        )
