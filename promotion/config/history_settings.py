"""Settings of `[history]`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

KeptVersions = Annotated[int, Meta(ge=1, le=1000)]


class HistorySettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Number of a group's newest versions in Parameter Store, besides those that are live or pending.

    Without a number every version stays there; with one, older versions and older pages go to the archive in S3.
    """

    keep_versions: KeptVersions | None = None
