"""Reading parameters below a path, and histories of versions from Parameter Store and the archive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from promotion import names
from promotion.aws.parameter_store.archive import Archive
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.ledger.archive import ArchivedHistory, joined_entries
from promotion.ledger.comparing import is_page, page_number
from promotion.ledger.parameter_documents import pages_of

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


def read_below(client: Parameters, path: str) -> Iterator[tuple[str, str]]:
    """Names and values of all parameters below a path."""
    for answer in client.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True):
        for parameter in answer["Parameters"]:
            yield parameter["Name"], parameter["Value"]


def read_pages(pages: Mapping[int, str], numbers: range, *, tolerant: bool) -> list[dict[str, object]]:
    """Entries of the pages of a history, in order.

    With `tolerant` a page may be missing: what was archived may be deleted already.

    Raises:
        KeyError: a page is missing.
        ValueError: one is no JSON.
    """
    wanted = [number for number in numbers if number in pages or not tolerant]
    return [found for number in wanted for found in json.loads(pages[number])]


def history_pages(client: Parameters, base: str) -> dict[int, str]:
    """Values of a history's pages by number."""
    return {page_number(name): value for name, value in read_below(client, f"{base}/history") if is_page(name, base)}


def read_history(
    client: Parameters, prefix: str, group: str, version: int, *, bucket: EvidenceBucket | None = None
) -> list[dict[str, object]]:
    """A version's history in order, from Parameter Store and the archive; repeated runs of long ago are one entry.

    Parameters are read before the archive: what is moved meanwhile is then read twice rather than not at all. Without the
    evidence `bucket` the archive is not read: then what the version's own parameter has and its pages.

    Raises:
        IntegrityError: what is archived was changed or is missing.
    """
    base = names.version_parameter(prefix, group, version)
    missing: Exception | None = None
    document: dict[str, Any] = {"history": []}
    pages: dict[int, str] = {}
    try:
        document = json.loads(client.get_parameter(Name=base)["Parameter"]["Value"])
        pages = history_pages(client, base)
    except client.exceptions.ParameterNotFound as error:
        missing = error
    past: ArchivedHistory | None = None
    if bucket is not None:
        archive = Archive(client, bucket, prefix)
        named = archive.index(group).version(version)
        past = archive.history(named) if named is not None else None
    if missing is not None and past is None:
        raise missing
    entries = [*read_pages(pages, pages_of(document), tolerant=past is not None), *document["history"]]
    return joined_entries(past.history if past is not None else (), entries)
