"""Reading a version's history as anybody may: Parameter Store, the archive, and the objects that folded entries name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from promotion import names
from promotion.aws.parameter_store.archive import Archive
from promotion.aws.parameter_store.stored_parameters import history_pages, read_pages
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.errors import IntegrityError
from promotion.ledger.archive import joined_entries
from promotion.ledger.events import Event, read_event
from promotion.ledger.folded_runs import FoldedRuns
from promotion.ledger.parameter_documents import pages_of

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


def read_history(
    client: Parameters, prefix: str, group: str, version: int, *, bucket: EvidenceBucket | None = None
) -> list[dict[str, object]]:
    """A version's history in order; without the evidence `bucket`, what Parameter Store has.

    Parameters are read before the archive: what is moved meanwhile is then read twice rather than not at all.
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
    archive = Archive(client, bucket, prefix) if bucket is not None else None
    named = archive.index(group).index.version(version) if archive is not None else None
    past = archive.history(named) if archive is not None and named is not None else None
    if missing is not None and past is None:
        raise missing
    entries = [*read_pages(pages, pages_of(document), tolerant=past is not None), *document["history"]]
    return joined_entries(past.history if past is not None else (), entries)


def folded_events(bucket: EvidenceBucket, runs: FoldedRuns | None) -> list[Event]:
    """The events of the runs in one entry of Parameter Store, in order.

    Raises:
        IntegrityError: an object is missing, or is not what the entry names.
    """
    found: list[Event] = []
    while runs is not None:
        kept = bucket.folded_runs(runs.object)
        if kept is None or kept.runs != runs:
            raise IntegrityError(f"{runs.object} is not what the history names.")
        found = [*map(read_event, kept.events), *found]
        runs = kept.previous
    return found
