"""The archive of histories: objects in the evidence bucket, and the parameter of each group that names its index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.domain.canonical_json import canonical
from promotion.errors import Conflict, IntegrityError
from promotion.ledger.archive import (
    ArchivedHistory,
    ArchivedVersion,
    ArchiveIndex,
    index_number,
    index_object,
    index_of,
    named_history,
    named_index,
    read_history,
    read_index,
    read_name,
)

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


class KeptIndex(Struct, frozen=True, kw_only=True):
    """A group's newest index and its number, 0 before the first; `named` is True if Parameter Store names this index.

    `last` is the highest number in use, by this index or by a later object that is no valid index.
    """

    index: ArchiveIndex
    number: int = 0
    last: int = 0
    named: bool = True


class Archive:
    """The archive of each group.

    It is written in this order: the object, the index, the parameter that names the index. Each object is written once, and read
    back before it is named.

    A group may have two writers: the projector (its queue runs one at a time for a group) and `promotion verify
    --repair`. A changed index is therefore written under the next number after the one that was read. Only one writer
    can write that number; the other one gets a Conflict and reads again.
    """

    def __init__(self, client: Parameters, bucket: EvidenceBucket, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def index(self, group: str) -> KeptIndex:
        """Return a group's newest index; an empty one before the first version was archived.

        It may be newer than the one that Parameter Store names, if a process stopped before it updated the parameter.

        Raises:
            IntegrityError: the parameter or the index was changed or is missing.
        """
        parameter = names.archive_parameter(self._prefix, group)
        try:
            value = str(self._client.get_parameter(Name=parameter)["Parameter"]["Value"])
        except self._client.exceptions.ParameterNotFound:
            return self._newest(KeptIndex(index=ArchiveIndex(model_package_group=group)))
        named = read_name(value, group)
        found = read_index(self._bucket.text(named.object), named) if named is not None else None
        if named is None or found is None:
            raise IntegrityError(f"{parameter} names no archive that holds: promotion verify {group} --repair.")
        return self._newest(_kept(found, index_number(named)))

    def history(self, named: ArchivedVersion) -> ArchivedHistory:
        """Return an archived history.

        Raises:
            IntegrityError: the object was changed or is missing.
        """
        found = read_history(self._bucket.text(named.object), named)
        if found is None:
            raise IntegrityError(f"{named.object} is not what the archive's index names.")
        return found

    def keep(self, history: ArchivedHistory) -> ArchivedVersion:
        """Write a history unless it exists; no index names it yet."""
        named, text = named_history(history), history.text()
        self._bucket.put_text_once(named.object, text)
        if self._bucket.text(named.object) != text:
            raise IntegrityError(
                f"{named.object} has been written over since: delete it, then promotion verify --repair."
            )
        return named

    def change(self, kept: KeptIndex, index: ArchiveIndex) -> KeptIndex:
        """Replace the index that was read before with `index`, and name it in Parameter Store.

        Returns:
            The group's newest index.

        Raises:
            Conflict: another process changed the group's index at the same time; nothing was changed.
        """
        return self._name(kept) if index.versions == kept.index.versions else self._write(kept.last + 1, index)

    def begin_anew(self, group: str) -> KeptIndex:
        """Replace an index that can't be read with an empty one.

        Raises:
            Conflict: another process changed the group's index at the same time; nothing was changed.
        """
        empty = ArchiveIndex(model_package_group=group)
        return self._write(self._newest(KeptIndex(index=empty)).last + 1, empty)

    def _write(self, number: int, index: ArchiveIndex) -> KeptIndex:
        group, text = index.model_package_group, index.text()
        self._bucket.put_text_once(index_object(group, number), text)
        if self._bucket.text(index_object(group, number)) != text:
            raise Conflict(f"{group}: somebody else changed the index of the archive after number {number - 1}.")
        return self._name(_kept(index, number, named=False))

    def _name(self, kept: KeptIndex) -> KeptIndex:
        """Name an index in Parameter Store, or the newest one that other processes wrote after it."""
        while not kept.named:
            named = named_index(kept.index, kept.number)
            self._client.put_parameter(
                Name=names.archive_parameter(self._prefix, named.model_package_group),
                Value=canonical(named).decode(),
                Type="String",
                Overwrite=True,
                Tier="Intelligent-Tiering",
            )
            kept = self._newest(replace(kept, named=True))
        return kept

    def _newest(self, kept: KeptIndex) -> KeptIndex:
        group = kept.index.model_package_group
        while (text := self._bucket.text(index_object(group, kept.last + 1))) is not None:
            index, number = index_of(text, group), kept.last + 1
            kept = replace(kept, last=number) if index is None else _kept(index, number, named=False)
        return kept


def _kept(index: ArchiveIndex, number: int, *, named: bool = True) -> KeptIndex:
    return KeptIndex(index=index, number=number, last=number, named=named)
