"""Parameter Store: the signed live records, each version's attributes, and its history in write-once pages.

A page is never changed. When repeated runs are folded into one entry, the history is written again in pages with higher
numbers, the version's own parameter then names those, and the previous pages are deleted. With `[history]
keep_versions` the archive in S3 has older entries instead of pages, and older versions instead of their parameters
(archiving.py).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.aws.parameter_store.archive import Archive
from promotion.aws.parameter_store.archiving import Archiving
from promotion.aws.parameter_store.stored_parameters import (
    history_pages,
    read_document,
    read_histories,
    read_pages,
    read_sequences,
)
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.client.live_record import signed_bytes
from promotion.domain.model import VersionState
from promotion.errors import IntegrityError
from promotion.ledger.archive import FIELD as ARCHIVED
from promotion.ledger.archive import ArchivedHistory, in_use, joined_entries
from promotion.ledger.comparing import EMPTIED, is_page, page_number
from promotion.ledger.events import Event
from promotion.ledger.fold import touched
from promotion.ledger.folded_runs import Fold, fold_runs, sequence_of
from promotion.ledger.parameter_documents import (
    PAGE_BYTES,
    dump,
    entry,
    live_record,
    pages_of,
    same_record,
    seal,
    version_document,
)
from promotion.ledger.snapshot import GroupSnapshot

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


class Signer(Protocol):
    """A signer of live records."""

    key_id: str

    def sign(self, message: bytes) -> bytes:
        """Return a DER-encoded ECDSA signature on P-256 with SHA-256."""


class Events(Protocol):
    """A reader of the ledger's events."""

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the group's events after a sequence number, in order."""


class Beside(Struct, frozen=True, kw_only=True):
    """The fields of a version's own parameter that describe the rest of its history.

    `numbers` are the numbers of its pages; `last` and `archived` are the sequence numbers of its newest and newest
    archived event.
    """

    numbers: range = range(1, 1)
    last: int
    archived: int = 0


class ParameterTarget:
    """Projection of the ledger to Parameter Store, below `prefix`; folded and archived events go to `bucket`.

    `keep_versions` is the setting of that name; with None nothing more is archived.
    """

    one_by_one = False

    def __init__(
        self,
        client: Parameters,
        signer: Signer,
        prefix: str,
        *,
        ledger: Events,
        bucket: EvidenceBucket,
        keep_versions: int | None = None,
    ) -> None:
        self._client = client
        self._signer = signer
        self._prefix = prefix
        self._ledger = ledger
        self._bucket = bucket
        self._archiving = Archiving(client, Archive(client, bucket, prefix), prefix, keep_versions)

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        """Write what `events` changed; one parameter that can't be written holds up no other, and its error is raised last."""
        tasks: list[Callable[[], None]] = []
        # The live records come first: pipelines wait for them. They include what later events changed, because this batch may
        # fail, and then those are not reached.
        for name, environment in view.environments.items():
            if events and environment.live_sequence >= events[0].sequence:
                tasks.append(partial(self.put_live, view, name))
        by_version: dict[int, list[Event]] = {}
        for event in events:
            # An event is in the history of its own version, and may change the status of the one that it replaces.
            for number in touched(event):
                by_version.setdefault(number, []).extend([event] if number == event.version else [])
        used = in_use(view)
        for number, found in by_version.items():
            tasks.append(partial(self.put_version, view.version(number), found, used=number in used))
        tasks.append(partial(self._archiving.move_old, view))
        failed: list[Exception] = []
        for task in tasks:
            try:
                task()
            except Exception as error:  # noqa: BLE001 - raised again after the others; the account may be another one
                failed.append(error)
        if failed:
            raise failed[0]

    def put_live(self, view: GroupSnapshot, name: str, *, anew: bool = False) -> None:
        """Write the live parameter of an environment from the ledger if it differs; with `anew`, in any case."""
        wanted = live_record(view, view.environment(name), self._signer.key_id)
        if wanted is None:
            return
        parameter = names.live_parameter(self._prefix, view.group, name)
        found = None if anew else self._value(parameter)
        if found is not None and same_record(found, wanted):
            return
        signature = self._signer.sign(signed_bytes(wanted))
        wanted["signature"] = base64.b64encode(signature).decode()
        self._put(parameter, dump(wanted), overwrite=True)

    def put_version(self, state: VersionState, events: Sequence[Event], *, used: bool = True) -> None:
        """Add `events` to a version's history; events that it already contains are skipped, and a damaged history stays.

        Pages are written before the parameter that names them, and only once. If a page exists, an earlier try wrote
        it, so its entries are taken off the list. An archived version gets a parameter again if it is `used`: live or
        pending.
        """
        parameter = names.version_parameter(self._prefix, state.group, state.version)
        found = self._value(parameter)
        past = self._past(state, events) if found is None else None
        if found is None and past is None and not events:
            # The parameter was deleted. It is not written without its history; `verify` reports that it is missing.
            return
        if past is not None and past.attributes and not used:
            self._archiving.append(state, past, events)
            return
        document = read_document(found) if found is not None else _nothing_after(past)
        if document is None:
            # `verify` reports it, and its repair writes it anew; it holds up neither other versions nor the bus.
            return
        entries: list[dict[str, object]] = list(document["history"])
        entries += [entry(event) for event in events if event.sequence > document["last"]]
        last = max(document["last"], *(event.sequence for event in events), 0)
        beside = Beside(numbers=pages_of(document), last=last, archived=document.get(ARCHIVED, 0))
        if document.get("clearing"):
            self._clear(parameter, beside.numbers)
        if self._overflows(state, beside, entries):
            beside, entries = self._shortened(state, beside, entries) or (beside, entries)
        text = self._fill(state, beside, entries, anew=False)
        if text != found:
            self._put(parameter, text, overwrite=True)

    def rewrite_version(self, view: GroupSnapshot, state: VersionState, events: Sequence[Event]) -> None:
        """Write a version's history again from its first event, over a damaged one.

        Surplus pages are emptied rather than deleted, because a deleted name can't be created again for 30 seconds.
        """
        base = names.version_parameter(self._prefix, state.group, state.version)
        entries, beside = [entry(event) for event in events], Beside(last=events[-1].sequence)
        if self._overflows(state, beside, entries):
            entries, folds = fold_runs(entries, state.group, state.version)
            for fold in folds:
                self._keep_runs(state, fold, once=False)
        named = self._archiving.mend(view).version(state.version)
        if self._archiving.is_old(view, state.version, named):
            self._archiving.keep_history(state, entries, whole=True)
            self._archiving.delete(state.group, state.version)
            return
        if named is not None or self._archiving.keep is not None:
            older, entries = self._split(state, beside, entries)
            if older:
                self._archiving.keep_history(state, older, whole=False)
                beside = replace(beside, archived=sequence_of(older[-1]))
            else:
                self._archiving.mend(view, without=state.version)
        text = self._fill(state, beside, entries, anew=True)
        used = pages_of(json.loads(text))
        for name, value in read_histories(self._client, f"{base}/history"):
            # A name without a number is no page of this service: `verify` reports and removes it.
            if is_page(name, base) and page_number(name) not in used and value != EMPTIED:
                self._put(name, EMPTIED, overwrite=True)
        self._put(base, text, overwrite=True)

    def mend_archive(self, view: GroupSnapshot) -> None:
        """Replace an index of the archive that can't be read; the repair of each version adds to it."""
        self._archiving.mend(view)

    def remove(self, name: str) -> None:
        """Delete a parameter that is not in the ledger."""
        self._client.delete_parameter(Name=name)

    def _past(self, state: VersionState, events: Sequence[Event]) -> ArchivedHistory | None:
        """Return the archived history of a version without a parameter; skip new versions if nothing is archived."""
        if self._archiving.keep is None and events and events[0].kind == names.MODEL_REGISTERED:
            return None
        return self._archiving.past(state)

    def _shortened(
        self, state: VersionState, beside: Beside, entries: list[dict[str, object]]
    ) -> tuple[Beside, list[dict[str, object]]] | None:
        """Make room for entries by archiving, if there is an archive, else by folding runs; None if that fails."""
        if self._archiving.keep is not None or beside.archived:
            return self._archive_older(state, beside, entries)
        return self._fold(state, beside, entries)

    def _archive_older(
        self, state: VersionState, beside: Beside, entries: list[dict[str, object]]
    ) -> tuple[Beside, list[dict[str, object]]] | None:
        """Fold runs, archive all but the newest entries, and delete the pages; None if a part can't be read."""
        base = names.version_parameter(self._prefix, state.group, state.version)
        try:
            past = self._archiving.past(state)
            pages = read_pages(history_pages(self._client, base), beside.numbers, tolerant=past is not None)
            known = joined_entries(past.history if past is not None else (), [*pages, *entries])
            folded, folds = fold_runs(known, state.group, state.version)
        except (IntegrityError, KeyError, ValueError, TypeError, AttributeError, msgspec.ValidationError):
            # Damaged histories stay: `verify` reports them, and its repair archives.
            return None
        for fold in folds:
            self._keep_runs(state, fold, once=True)
        older, newest = self._split(state, beside, folded)
        self._archiving.keep_history(state, older, whole=False)
        after = Beside(last=beside.last, archived=sequence_of(older[-1]))
        clearing = bool(beside.numbers)
        self._put(base, self._fill(state, after, newest, anew=True, clearing=clearing), overwrite=True)
        if clearing:
            self._clear(base, after.numbers)
        return after, newest

    def _split(
        self, state: VersionState, beside: Beside, entries: list[dict[str, object]]
    ) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        """Split entries into those for the archive and the newest, which fit into the version's own parameter."""
        document = {**_document(state, Beside(last=beside.last, archived=beside.last)), "clearing": True}
        newest = entries
        while True:
            page, newest = _sealed(document, newest)
            if not page:
                return entries[: len(entries) - len(newest)], newest

    def _fold(
        self, state: VersionState, beside: Beside, entries: list[dict[str, object]]
    ) -> tuple[Beside, list[dict[str, object]]] | None:
        """Fold repeated runs and write the history to new pages; None if there is nothing to fold.

        Readers use the previous pages until the version's own parameter names the new ones. A retry after a crash does
        the same: it overwrites new pages that are not named yet, and deletes old ones.

        Returns:
            The new pages, and the entries in the version's own parameter.
        """
        base = names.version_parameter(self._prefix, state.group, state.version)
        try:
            older = read_pages(history_pages(self._client, base), beside.numbers, tolerant=False)
            folded, folds = fold_runs([*older, *entries], state.group, state.version)
        except (KeyError, ValueError, TypeError, msgspec.ValidationError):
            # Damaged histories stay: `verify` reports them, and its repair folds.
            return None
        if not folds:
            return None
        for fold in folds:
            self._keep_runs(state, fold, once=True)
        fresh = replace(beside, numbers=range(beside.numbers.stop, beside.numbers.stop))
        text = self._fill(state, fresh, folded, anew=True, clearing=True)
        self._put(base, text, overwrite=True)
        document = json.loads(text)
        self._clear(base, pages_of(document))
        return replace(beside, numbers=pages_of(document)), list(document["history"])

    def _keep_runs(self, state: VersionState, fold: Fold, *, once: bool) -> None:
        first, last = fold.sequences[0], fold.sequences[-1]
        events = takewhile(lambda event: event.sequence <= last, self._ledger.events(state.group, after=first - 1))
        document = fold.document(state.group, state.version, events)
        self._bucket.put(fold.after.object, msgspec.to_builtins(document), once=once)

    def _clear(self, base: str, numbers: range) -> None:
        """Delete the pages that a history no longer names."""
        for number, name in sorted((page_number(name), name) for name in _page_names(self._client, base)):
            if number not in numbers:
                try:
                    self.remove(name)
                except self._client.exceptions.ParameterNotFound:
                    continue

    def _overflows(self, state: VersionState, beside: Beside, entries: list[dict[str, object]]) -> bool:
        return bool(_sealed(_document(state, beside), entries)[0])

    def _fill(
        self,
        state: VersionState,
        beside: Beside,
        entries: list[dict[str, object]],
        *,
        anew: bool,
        clearing: bool = False,
    ) -> str:
        """Write further pages until the rest fits the version's own parameter; return that parameter's value."""
        while True:
            wanted = _document(state, beside) | ({"clearing": True} if clearing else {})
            page, entries = _sealed(wanted, entries)
            if not page:
                return dump({**wanted, "history": entries})
            number = beside.numbers.stop
            beside = replace(beside, numbers=range(beside.numbers.start, number + 1))
            if anew:
                self._put(self._page_name(state, number), dump(page), overwrite=True)
            else:
                entries = self._write_page(state, number, page) + entries

    def _write_page(self, state: VersionState, number: int, page: list[dict[str, object]]) -> list[dict[str, object]]:
        """Write a page once; if one with this number exists, return the entries that it doesn't contain."""
        parameter = self._page_name(state, number)
        try:
            self._put(parameter, dump(page), overwrite=False)
        except self._client.exceptions.ParameterAlreadyExists:
            kept = read_sequences(self._value(parameter) or "[]")
            return [found for found in page if found["sequence"] not in kept]
        return []

    def _page_name(self, state: VersionState, number: int) -> str:
        return names.history_parameter(self._prefix, state.group, state.version, number)

    def _value(self, name: str) -> str | None:
        try:
            return str(self._client.get_parameter(Name=name)["Parameter"]["Value"])
        except self._client.exceptions.ParameterNotFound:
            return None

    def _put(self, name: str, value: str, *, overwrite: bool) -> None:
        # Intelligent tiering stays standard, and free, up to 4 KB; a live record with many container variables may be larger.
        self._client.put_parameter(
            Name=name, Value=value, Type="String", Overwrite=overwrite, Tier="Intelligent-Tiering"
        )


def _nothing_after(past: ArchivedHistory | None) -> dict[str, Any]:
    """Return a version's own parameter before the first write: empty, or only with its archived history."""
    last = sequence_of(past.history[-1]) if past is not None else 0
    return {"history": [], "pages": 0, "last": last, ARCHIVED: last}


def _document(state: VersionState, beside: Beside) -> dict[str, object]:
    """Return a version's own parameter without its history."""
    first = {"first_page": beside.numbers.start} if beside.numbers.start > 1 else {}
    archived = {ARCHIVED: beside.archived} if beside.archived else {}
    return {**version_document(state), "last": beside.last, "pages": len(beside.numbers), **first, **archived}


def _sealed(
    document: dict[str, object], entries: list[dict[str, object]]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    return seal(entries, PAGE_BYTES - len(dump({**document, "history": []}).encode()) + 2)


def _page_names(client: Parameters, base: str) -> list[str]:
    return [name for name, _ in read_histories(client, f"{base}/history") if is_page(name, base)]
