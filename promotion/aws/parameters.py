"""Parameter Store: the signed live records, each version's attributes, and its history in write-once pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict

from promotion import names
from promotion.client.live_record import signed_bytes
from promotion.domain.model import VersionState
from promotion.ledger.events import Event
from promotion.ledger.fold import touched
from promotion.ledger.parameter_documents import (
    LIVE_KINDS,
    PAGE_BYTES,
    dump,
    entry,
    live_record,
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


class _History(TypedDict):
    """The part of a version's parameter that has its newest events."""

    history: list[dict[str, object]]
    pages: int
    last: int


class ParameterTarget:
    """Writes under `prefix`."""

    one_by_one = False

    def __init__(self, client: Parameters, signer: Signer, prefix: str) -> None:
        self._client = client
        self._signer = signer
        self._prefix = prefix

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        # What is live comes first: it is what pipelines wait for.
        changed = {event.environment for event in events if event.kind in LIVE_KINDS}
        for name in view.environments:
            if name in changed or None in changed:
                self.put_live(view, name)
        by_version: dict[int, list[Event]] = {}
        for event in events:
            # An event stands in the history of its own version, and may change the status of the one that it replaces.
            for number in touched(event):
                by_version.setdefault(number, []).extend([event] if number == event.version else [])
        for number, found in by_version.items():
            self.put_version(view.version(number), found)

    def put_live(self, view: GroupSnapshot, name: str, *, anew: bool = False) -> None:
        """Make the live parameter of an environment what the ledger says, unless it already is; `anew`: in any case."""
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
            # Somebody deleted it: `verify` tells, and a document without its history would be no better.
            return
        document: _History = json.loads(found) if found else {"history": [], "pages": 0, "last": 0}
        entries = list(document["history"])
        entries += [entry(event) for event in events if event.sequence > document["last"]]
        last = max(document["last"], *(event.sequence for event in events), 0)
        text = self._fill(state, document["pages"], entries, last, anew=False)
        if text != found:
            self._put(parameter, text, overwrite=True)

    def rewrite_version(self, state: VersionState, events: Sequence[Event]) -> None:
        """Write a version's history from its first event, over what was damaged.

        Pages beyond those needed are emptied rather than deleted: a deleted name can't be made again for 30 seconds.
        """
        base = names.version_parameter(self._prefix, state.group, state.version)
        text = self._fill(state, 0, [entry(event) for event in events], events[-1].sequence, anew=True)
        used = int(json.loads(text)["pages"])
        for name, value in read_below(self._client, f"{base}/history"):
            number = name.rpartition("/")[2]
            # What has no number is nobody's page: `verify` names it and takes it away.
            if number.isascii() and number.isdecimal() and int(number[:9]) > used and value != "[]":
                self._put(name, "[]", overwrite=True)
        self._put(base, text, overwrite=True)

    def remove(self, name: str) -> None:
        """Take away a parameter that the ledger knows nothing of."""
        self._client.delete_parameter(Name=name)

    def _fill(self, state: VersionState, pages: int, entries: list[dict[str, object]], last: int, *, anew: bool) -> str:
        """Seal pages until what is left fits the version's own parameter; returns that one's value."""
        while True:
            wanted = {**version_document(state), "last": last, "pages": pages}
            spare = PAGE_BYTES - len(dump({**wanted, "history": []}).encode()) + 2
            page, entries = seal(entries, spare)
            if not page:
                return dump({**wanted, "history": entries})
            pages += 1
            if anew:
                self._put(self._page_name(state, pages), dump(page), overwrite=True)
            else:
                entries = self._write_page(state, pages, page) + entries

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
    """Every event of a version in order, from Parameter Store alone."""
    base = names.version_parameter(prefix, group, version)
    pages = {name: json.loads(value) for name, value in read_below(client, f"{base}/history")}
    newest: list[dict[str, object]] = json.loads(client.get_parameter(Name=base)["Parameter"]["Value"])["history"]
    return [found for name in sorted(pages) for found in pages[name]] + newest
