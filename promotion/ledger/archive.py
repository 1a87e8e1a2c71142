"""Histories of versions in S3 instead of Parameter Store: the objects' contents, and the versions to archive. Pure.

`/promotion/{group}/archive` names the newest index of a group, and the index names an object for each version with a history
there. All are written once: histories under names with their own SHA-256, indexes under consecutive numbers. An archived
history is always the beginning of a version's history: its entries in Parameter Store are newer, or were not deleted yet.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec
from msgspec import Struct

from promotion import names
from promotion.domain.canonical_json import canonical
from promotion.domain.model import SCHEMA
from promotion.ledger.folded_runs import sequence_of
from promotion.ledger.snapshot import GroupSnapshot

# The field of a version's own parameter with the number of the last event in its archived history.
FIELD = "archived"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_INDEX_NUMBER = re.compile(r"[0-9]{10}")


class ArchivedHistory(Struct, frozen=True, kw_only=True):
    """An object with a version's entries up to an event, as Parameter Store had them.

    `attributes` are those of the version's own parameter if that parameter is archived too; else empty.
    """

    schema: int = SCHEMA
    model_package_group: str
    model_package_version: int
    attributes: dict[str, object] = {}
    history: tuple[dict[str, object], ...] = ()

    def text(self) -> bytes:
        """The object as it is kept."""
        return canonical(self)


class ArchivedVersion(Struct, frozen=True, kw_only=True):
    """A version in the index: its object, the object's SHA-256, and the sequence number of the last event in it.

    `whole`: the version needs no parameter of its own.
    """

    object: str
    sha256: str
    last: int
    whole: bool = False


class ArchiveIndex(Struct, frozen=True, kw_only=True):
    """All versions of a group with a history in the archive, by number."""

    schema: int = SCHEMA
    model_package_group: str
    versions: dict[str, ArchivedVersion] = {}

    def text(self) -> bytes:
        """The object as it is kept."""
        return canonical(self)

    def version(self, number: int) -> ArchivedVersion | None:
        """Return what is archived of a version; None if nothing is."""
        return self.versions.get(str(number))


class ArchiveName(Struct, frozen=True, kw_only=True):
    """Value of `/promotion/{group}/archive`: the index that counts, and its SHA-256."""

    schema: int = SCHEMA
    model_package_group: str
    object: str
    sha256: str
    versions: int


def digest_of(text: bytes) -> str:
    """SHA-256, hex, of an object as it is kept."""
    return hashlib.sha256(text).hexdigest()


def named_history(history: ArchivedHistory) -> ArchivedVersion:
    """Return the index entry of an archived history, which has at least one entry."""
    sha256, last = digest_of(history.text()), sequence_of(history.history[-1])
    # As for attestations: no folder has an environment's name, because that environment's state machine may write there.
    place = f"{names.ARCHIVES}/{history.model_package_group}.v{history.model_package_version}"
    return ArchivedVersion(
        object=f"{place}/{last:010d}-{sha256}.json", sha256=sha256, last=last, whole=bool(history.attributes)
    )


def index_object(group: str, number: int) -> str:
    """Key of a group's index with a number, from 1. Of two concurrent writers, only one can write the next number."""
    return f"{names.ARCHIVES}/{group}.index/{number:010d}.json"


def index_number(named: ArchiveName) -> int:
    """Return the number in an index's key; 0 if there is none."""
    number = named.object.rpartition("/")[2].removesuffix(".json")
    return int(number) if _INDEX_NUMBER.fullmatch(number) else 0


def named_index(index: ArchiveIndex, number: int) -> ArchiveName:
    """Return the value by which the archive parameter names an index."""
    return ArchiveName(
        model_package_group=index.model_package_group,
        object=index_object(index.model_package_group, number),
        sha256=digest_of(index.text()),
        versions=len(index.versions),
    )


def read_history(text: bytes | None, named: ArchivedVersion) -> ArchivedHistory | None:
    """Return an archived history; None if the object is missing or is not the one that the index names."""
    if text is None or digest_of(text) != named.sha256:
        return None
    try:
        return msgspec.json.decode(text, type=ArchivedHistory)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def read_name(value: str, group: str) -> ArchiveName | None:
    """Decode the value of a group's archive parameter; None if it can't be decoded."""
    try:
        found = msgspec.json.decode(value, type=ArchiveName)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return found if found.model_package_group == group else None


def read_index(text: bytes | None, named: ArchiveName) -> ArchiveIndex | None:
    """Return an index; None if the object is missing or is not the one that Parameter Store names."""
    if text is None or digest_of(text) != named.sha256:
        return None
    return index_of(text, named.model_package_group)


def index_of(text: bytes, group: str) -> ArchiveIndex | None:
    """Decode the index in an object; None if it can't be decoded or is another group's."""
    try:
        found = msgspec.json.decode(text, type=ArchiveIndex)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if not all(_NUMBER.fullmatch(number) for number in found.versions):
        return None
    return found if found.model_package_group == group else None


def joined(archived: Sequence[dict[str, object]], newer: Iterable[object]) -> list[object]:
    """Return the whole history: archived entries, then the newer ones in Parameter Store.

    An entry is in both if a process crashed after it archived the entry and before it deleted the parameters.
    """
    last = sequence_of(archived[-1]) if archived else 0
    return [*archived, *(each for each in newer if not _is_until(each, last))]


def _is_until(each: object, last: int) -> bool:
    sequence = each.get("sequence") if isinstance(each, dict) else None
    return isinstance(sequence, int) and sequence <= last


def joined_entries(past: Sequence[dict[str, object]], newer: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the archived entries of a history, then the newer ones."""
    return [each for each in joined(past, newer) if isinstance(each, dict)]


def in_use(view: GroupSnapshot) -> set[int]:
    """Return the versions that are live or pending in an environment."""
    found: set[int] = set()
    for environment in view.environments.values():
        kept = environment.kept.version if environment.kept is not None else None
        found |= {number for number in (environment.live, environment.pending, kept) if number is not None}
    return found


def may_be_archived(view: GroupSnapshot, present: Set[int], keep: int) -> list[int]:
    """Return the versions whose parameters may be archived, oldest first.

    Args:
        view: The group's states.
        present: Versions with parameters. The newest versions of a group always have some.
        keep: `[history] keep_versions`.
    """
    newest = set(sorted(present)[-keep:])
    return sorted(present - newest - in_use(view))


def with_versions(index: ArchiveIndex, archived: Mapping[int, ArchivedVersion]) -> ArchiveIndex:
    """Return an index with the entries of some versions replaced."""
    changed = {str(number): named for number, named in archived.items()}
    return ArchiveIndex(
        model_package_group=index.model_package_group,
        versions=dict(sorted({**index.versions, **changed}.items(), key=lambda each: int(each[0]))),
    )
