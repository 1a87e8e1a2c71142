"""The archive of histories: objects in the evidence bucket, and the parameter of each group that names its index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from promotion import names
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.domain.canonical_json import canonical
from promotion.errors import IntegrityError
from promotion.ledger.archive import (
    ArchivedHistory,
    ArchivedVersion,
    ArchiveIndex,
    named_history,
    named_index,
    read_history,
    read_index,
    read_name,
    with_versions,
)

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


class Archive:
    """The archive of each group.

    It is written in this order: the object, the index, the parameter that names the index. Each object is written once, and read
    back before it is named.
    """

    def __init__(self, client: Parameters, bucket: EvidenceBucket, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def index(self, group: str) -> ArchiveIndex:
        """Return a group's index; an empty one before the first version was archived.

        Raises:
            IntegrityError: the parameter or the index was changed or is missing.
        """
        parameter = names.archive_parameter(self._prefix, group)
        try:
            value = str(self._client.get_parameter(Name=parameter)["Parameter"]["Value"])
        except self._client.exceptions.ParameterNotFound:
            return ArchiveIndex(model_package_group=group)
        named = read_name(value, group)
        found = read_index(self._bucket.text(named.object), named) if named is not None else None
        if found is None:
            raise IntegrityError(f"{parameter} names no archive that holds: promotion verify {group} --repair.")
        return found

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
        """Write a history, unless it is there; nothing names it yet."""
        named = named_history(history)
        self._keep(named.object, history.text())
        return named

    def name(self, index: ArchiveIndex, archived: Mapping[int, ArchivedVersion]) -> ArchiveIndex:
        """Write an index with these versions added, then its name to Parameter Store.

        Returns:
            The new index.
        """
        changed = with_versions(index, archived)
        named = named_index(changed)
        self._keep(named.object, changed.text())
        self._client.put_parameter(
            Name=names.archive_parameter(self._prefix, index.model_package_group),
            Value=canonical(named).decode(),
            Type="String",
            Overwrite=True,
            Tier="Intelligent-Tiering",
        )
        return changed

    def _keep(self, key: str, text: bytes) -> None:
        self._bucket.put_text_once(key, text)
        if self._bucket.text(key) != text:
            raise IntegrityError(f"{key} has been written over since: delete it, then promotion verify --repair.")
