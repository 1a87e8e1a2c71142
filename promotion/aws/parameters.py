"""Parameter Store: the signed live records, each version's attributes, and its history in write-once pages.

A page is never changed. Where repeated runs are folded into one entry, the history is laid out anew in pages with higher
numbers, the version's own parameter then counts those, and the pages of before are deleted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from promotion import names
from promotion.aws.attestations import EvidenceBucket
from promotion.client.live_record import signed_bytes
from promotion.domain.model import VersionState
from promotion.ledger.comparing import EMPTIED, is_page, page_number
from promotion.ledger.events import Event
from promotion.ledger.fold import touched
from promotion.ledger.folded_runs import Fold, fold_runs
from promotion.ledger.parameter_documents import (
    LIVE_KINDS,
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
    """Signs live records."""

    key_id: str

    def sign(self, message: bytes) -> bytes:
        """DER-encoded ECDSA signature on P-256 with SHA-256."""


class Events(Protocol):
    """Reads the ledger's events."""

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the group's events after a sequence number, in order."""


class ParameterTarget:
    """Writes under `prefix`; events of folded runs, read from `ledger`, go into `bucket`."""

    one_by_one = False

    def __init__(
        self, client: Parameters, signer: Signer, prefix: str, *, ledger: Events, bucket: EvidenceBucket
    ) -> None:
        self._client = client
        self._signer = signer
        self._prefix = prefix
        self._ledger = ledger
        self._bucket = bucket

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        # The live record comes first: pipelines wait for it.
        changed = {event.environment for event in events if event.kind in LIVE_KINDS}
        for name in view.environments:
            if name in changed or None in changed:
                self.put_live(view, name)
        by_version: dict[int, list[Event]] = {}
        for event in events:
            # An event is in the history of its own version, and may change the status of the one that it replaces.
            for number in touched(event):
                by_version.setdefault(number, []).extend([event] if number == event.version else [])
        for number, found in by_version.items():
            self.put_version(view.version(number), found)

    def put_live(self, view: GroupSnapshot, name: str, *, anew: bool = False) -> None:
        """Write the live parameter of an environment from the ledger if it differs; `anew`: in any case."""
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

    def put_version(self, state: VersionState, events: Sequence[Event]) -> None:
        """Add `events` to a version's history; those it has already are passed over.

        Pages are written before the parameter that counts them, and never again: a page that exists already holds what a
        try before this one put there, so what it holds is taken from the list.
        """
        parameter = names.version_parameter(self._prefix, state.group, state.version)
        found = self._value(parameter)
        if found is None and not events:
            # The parameter was deleted: `verify` reports that, and a document without its history would be no better.
            return
        document: dict[str, Any] = json.loads(found) if found else {"history": [], "pages": 0, "last": 0}
        entries: list[dict[str, object]] = list(document["history"])
        entries += [entry(event) for event in events if event.sequence > document["last"]]
        last = max(document["last"], *(event.sequence for event in events), 0)
        numbers = pages_of(document)
        if document.get("clearing"):
            self._clear(parameter, numbers)
        if self._overflows(state, numbers, entries, last) and (laid := self._fold(state, numbers, entries, last)):
            numbers, entries = laid
        text = self._fill(state, numbers, entries, last, anew=False)
        if text != found:
            self._put(parameter, text, overwrite=True)

    def rewrite_version(self, state: VersionState, events: Sequence[Event]) -> None:
        """Write a version's history from its first event, over a damaged one.

        Pages beyond those needed are emptied rather than deleted: a deleted name can't be made again for 30 seconds.
        """
        base = names.version_parameter(self._prefix, state.group, state.version)
        entries, last, none = [entry(event) for event in events], events[-1].sequence, range(1, 1)
        if self._overflows(state, none, entries, last):
            entries, folds = fold_runs(entries, state.group, state.version)
            for fold in folds:
                self._keep_runs(state, fold, once=False)
        text = self._fill(state, none, entries, last, anew=True)
        used = pages_of(json.loads(text))
        for name, value in read_below(self._client, f"{base}/history"):
            # A name without a number is no page of this service: `verify` reports and removes it.
            if is_page(name, base) and page_number(name) not in used and value != EMPTIED:
                self._put(name, EMPTIED, overwrite=True)
        self._put(base, text, overwrite=True)

    def remove(self, name: str) -> None:
        """Delete a parameter that is not in the ledger."""
        self._client.delete_parameter(Name=name)

    def _fold(
        self, state: VersionState, numbers: range, entries: list[dict[str, object]], last: int
    ) -> tuple[range, list[dict[str, object]]] | None:
        """Fold repeated runs and lay the history out in new pages; None if there is nothing to fold.

        Readers use the previous pages until the version's own parameter counts the new ones. A retry after a process that died
        does the same: it overwrites new pages that are not counted yet, and deletes old ones.

        Returns:
            The numbers of the new pages, and the entries in the version's own parameter.
        """
        base = names.version_parameter(self._prefix, state.group, state.version)
        # A damaged page is left: `verify` reports it, and its repair folds.
        older = self._older(base, numbers)
        if older is None:
            return None
        try:
            folded, folds = fold_runs([*older, *entries], state.group, state.version)
        except (KeyError, msgspec.ValidationError):
            return None
        if not folds:
            return None
        for fold in folds:
            self._keep_runs(state, fold, once=True)
        fresh = range(numbers.stop, numbers.stop)
        text = self._fill(state, fresh, folded, last, anew=True, clearing=True)
        self._put(base, text, overwrite=True)
        document = json.loads(text)
        self._clear(base, pages_of(document))
        return pages_of(document), list(document["history"])

    def _older(self, base: str, numbers: range) -> list[dict[str, object]] | None:
        """Entries of the pages of a history; None if one can't be read."""
        pages = _pages(self._client, base)
        try:
            return [found for number in numbers for found in json.loads(pages[number])]
        except (KeyError, ValueError, TypeError):
            return None

    def _keep_runs(self, state: VersionState, fold: Fold, *, once: bool) -> None:
        first, last = fold.sequences[0], fold.sequences[-1]
        events = takewhile(lambda event: event.sequence <= last, self._ledger.events(state.group, after=first - 1))
        document = fold.document(state.group, state.version, events)
        self._bucket.put(fold.after.object, msgspec.to_builtins(document), once=once)

    def _clear(self, base: str, numbers: range) -> None:
        """Delete the pages that a history doesn't count any more."""
        for number, name in sorted((page_number(name), name) for name in _page_names(self._client, base)):
            if number not in numbers:
                try:
                    self.remove(name)
                except self._client.exceptions.ParameterNotFound:
                    continue

    def _overflows(self, state: VersionState, numbers: range, entries: list[dict[str, object]], last: int) -> bool:
        return bool(_sealed(_document(state, numbers, last), entries)[0])

    def _fill(
        self,
        state: VersionState,
        numbers: range,
        entries: list[dict[str, object]],
        last: int,
        *,
        anew: bool,
        clearing: bool = False,
    ) -> str:
        """Seal pages after `numbers` until the rest fits the version's own parameter; return the value of that one."""
        while True:
            wanted = _document(state, numbers, last) | ({"clearing": True} if clearing else {})
            page, entries = _sealed(wanted, entries)
            if not page:
                return dump({**wanted, "history": entries})
            number = numbers.stop
            numbers = range(numbers.start, number + 1)
            if anew:
                self._put(self._page_name(state, number), dump(page), overwrite=True)
            else:
                entries = self._write_page(state, number, page) + entries

    def _write_page(self, state: VersionState, number: int, page: list[dict[str, object]]) -> list[dict[str, object]]:
        """Write a page once; returns those of its entries that an earlier page of this number left over."""
        parameter = self._page_name(state, number)
        try:
            self._put(parameter, dump(page), overwrite=False)
        except self._client.exceptions.ParameterAlreadyExists:
            kept = {found["sequence"] for found in json.loads(self._value(parameter) or "[]")}
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


def read_below(client: Parameters, path: str) -> Iterator[tuple[str, str]]:
    """Names and values of all parameters below a path."""
    for answer in client.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True):
        for parameter in answer["Parameters"]:
            yield parameter["Name"], parameter["Value"]


def read_history(client: Parameters, prefix: str, group: str, version: int) -> list[dict[str, object]]:
    """A version's history in order, from Parameter Store alone; repeated runs of long ago are one entry."""
    base = names.version_parameter(prefix, group, version)
    document = json.loads(client.get_parameter(Name=base)["Parameter"]["Value"])
    pages = _pages(client, base)
    newest: list[dict[str, object]] = document["history"]
    return [found for number in pages_of(document) for found in json.loads(pages[number])] + newest


def _document(state: VersionState, numbers: range, last: int) -> dict[str, object]:
    """A version's own parameter without its history."""
    first = {"first_page": numbers.start} if numbers.start > 1 else {}
    return {**version_document(state), "last": last, "pages": len(numbers), **first}


def _sealed(
    document: dict[str, object], entries: list[dict[str, object]]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    return seal(entries, PAGE_BYTES - len(dump({**document, "history": []}).encode()) + 2)


def _pages(client: Parameters, base: str) -> dict[int, str]:
    """Values of a history's pages by number."""
    return {page_number(name): value for name, value in read_below(client, f"{base}/history") if is_page(name, base)}


def _page_names(client: Parameters, base: str) -> list[str]:
    return [name for name, _ in read_below(client, f"{base}/history") if is_page(name, base)]
