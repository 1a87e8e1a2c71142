"""The tamper-evident hash chain of a group's events.

An event is stored as a text, canonical JSON, and its hash covers that text. No reader encodes an event again: another release,
with more or fewer fields, would produce a different text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from promotion.domain.canonical_json import canonical
from promotion.domain.model import SCHEMA, Head
from promotion.domain.people import Actor
from promotion.errors import IntegrityError, require
from promotion.formatting import one_line
from promotion.ledger.payloads import Payload, Unknown, read_payload, recorded

GENESIS = "0" * 64
# Extensions that this release supports in an event's `must_understand`; none yet.
UNDERSTOOD: frozenset[str] = frozenset()
# The most characters shown of a place or a value; more would not help a reader.
LONGEST_SAID = 500


class StoredEvent(Struct, frozen=True, kw_only=True):
    """An event as stored in the ledger and in exports.

    `hash` is SHA-256, hex, over the UTF-8 bytes of `text`. The last event of each append has a `signature`, in base64, over the
    new head, and the `key_id` of the key that signed it.
    """

    text: str
    hash: str
    signature: str = ""
    key_id: str = ""


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened, read from its text.

    `text` is stored and hashed; `hash` and `signature` are stored beside it. All other fields are decoded from the text by this
    release. `must_understand` names features that a reader must support.
    """

    schema: int = SCHEMA
    group: str
    sequence: int
    event_id: str
    kind: str
    time: datetime
    actor: Actor
    version: int | None = None
    environment: str | None = None
    data: dict[str, Any] = {}
    evidence_digest: str = ""
    policy_digest: str = ""
    previous_hash: str
    must_understand: tuple[str, ...] = ()
    hash: str = ""
    signature: str = ""
    key_id: str = ""
    text: str = ""

    @property
    def payload(self) -> Payload | Unknown:
        """`data` decoded as the payload of the event's kind."""
        return read_payload(self.kind, self.data)

    def computed_hash(self) -> str:
        """SHA-256, hex, over the stored text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def stored(self) -> StoredEvent:
        """Return the event in its stored form."""
        return StoredEvent(text=self.text, hash=self.hash, signature=self.signature, key_id=self.key_id)

    def part_digest(self, name: str) -> str:
        """SHA-256, hex, over the JSON of one field of `data` in the stored text; empty without the field."""
        part = self.part(name)
        return hashlib.sha256(part.encode()).hexdigest() if part else ""

    def part(self, name: str) -> str:
        """The JSON of one field of `data` in the stored text; empty without the field."""
        found = _raw_data(self.text).get(name)
        return bytes(found).decode() if found is not None else ""


class _Raw(Struct):
    data: dict[str, msgspec.Raw] = {}


def _raw_data(text: str) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(text, type=_Raw).data


def read_event(stored: StoredEvent) -> Event:
    """Decode an event from its stored form.

    Raises:
        IntegrityError: it can't be decoded, or it needs an extension that this release doesn't support.
    """
    try:
        event = msgspec.json.decode(stored.text, type=Event)
        read_payload(event.kind, event.data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise IntegrityError(f"an event of the ledger can't be read: {error} ({stored.text[:80]!r}).") from None
    place = f"event {event.sequence} of {event.group}"
    if not 1 <= event.schema <= SCHEMA + 1:
        raise IntegrityError(
            f"{place} has schema {event.schema}; this release reads 1 to {SCHEMA + 1}. Install a newer one."
        )
    if unknown := sorted(set(event.must_understand) - UNDERSTOOD):
        raise IntegrityError(f"{place} needs a reader that knows {', '.join(unknown)}. Install a newer release.")
    beside = {"hash": stored.hash, "signature": stored.signature, "key_id": stored.key_id}
    return msgspec.structs.replace(event, text=stored.text, **beside)


class NewEvent(Struct, frozen=True, kw_only=True):
    """An event before it gets a sequence number and hash; `data` is its payload or a dict of the fields."""

    kind: str
    actor: Actor
    version: int | None = None
    environment: str | None = None
    data: Payload | dict[str, Any] = {}
    evidence_digest: str = ""


def version_of(event: Event) -> int:
    """Return the version of an event whose kind requires one.

    Raises:
        IntegrityError: the event names no version.
    """
    return require(event.version, f"event {event.sequence} of {event.group}", "version")


def environment_of(event: Event) -> str:
    """Return the environment of an event whose kind requires one.

    Raises:
        IntegrityError: the event names no environment.
    """
    return require(event.environment, f"event {event.sequence} of {event.group}", "environment")


def happened(
    payload: Payload,
    actor: Actor,
    *,
    version: int | None = None,
    environment: str | None = None,
    evidence_digest: str = "",
) -> NewEvent:
    """Return a new event of the payload's kind."""
    return NewEvent(
        kind=payload.kind,
        actor=actor,
        version=version,
        environment=environment,
        data=payload,
        evidence_digest=evidence_digest,
    )


def chained(head: Head, facts: Iterable[NewEvent], *, time: datetime, policy_digest: str) -> list[Event]:
    """Return `facts` as the events that follow `head`, in order.

    An event's id is derived from its place, content and time. An append that is retried after a lost response has the same id,
    so it is recognised as done; a second click has another id and gets a conflict.
    """
    events: list[Event] = []
    sequence, previous = head.sequence, head.hash or GENESIS
    for fact in facts:
        sequence += 1
        data = recorded(fact.kind, fact.data)
        identity = canonical(
            [head.group, sequence, previous, time, fact.kind, fact.actor, fact.version, fact.environment, data]
        )
        text = canonical({
            "schema": SCHEMA,
            "group": head.group,
            "sequence": sequence,
            "event_id": hashlib.sha256(identity).hexdigest()[:32],
            "kind": fact.kind,
            "time": time,
            "actor": fact.actor,
            "version": fact.version,
            "environment": fact.environment,
            "data": data,
            "evidence_digest": fact.evidence_digest,
            "policy_digest": policy_digest,
            "previous_hash": previous,
        }).decode()  # fmt: skip
        event = read_event(StoredEvent(text=text, hash=hashlib.sha256(text.encode()).hexdigest()))
        events.append(event)
        previous = event.hash
    return events


def head_after(head: Head, events: Sequence[Event]) -> Head:
    """Return the head after `events` are appended."""
    last = events[-1]
    return Head(
        group=head.group,
        sequence=last.sequence,
        hash=last.hash,
        event_id=last.event_id,
        policy_digest=last.policy_digest,
        signature=last.signature,
        key_id=last.key_id,
    )


def head_bytes(group: str, sequence: int, hash_: str) -> bytes:
    """Return the canonical bytes that a head's signature covers.

    The field `document` keeps the signature from being accepted for a live record.
    """
    document = {"document": "promotion ledger head", "group": group, "hash": hash_, "sequence": sequence}
    return canonical(document)


def key_change_bytes(group: str, previous_hash: str, before: str, after: str) -> bytes:
    """Return the canonical bytes that both keys sign when one replaces the other."""
    document = {"document": "promotion signing key change", "group": group, "previous_hash": previous_hash}
    return canonical({**document, "before": before, "after": after})


def signed(events: Sequence[Event], sign: Callable[[bytes], bytes], key_id: str = "") -> list[Event]:
    """Return `events`, the last one with the signature of the head that they lead to."""
    last = events[-1]
    signature = base64.b64encode(sign(head_bytes(last.group, last.sequence, last.hash))).decode()
    return [*events[:-1], msgspec.structs.replace(last, signature=signature, key_id=key_id)]


class Difference(Struct, frozen=True, kw_only=True):
    """A difference found by a verification: `what` names the kind of place, `where` the place."""

    what: str
    where: str
    expected: str
    found: str

    @property
    def line(self) -> str:
        """The difference as one line, without control characters, for a terminal or a log."""
        where, expected, found = (one_line(text, LONGEST_SAID) for text in (self.where, self.expected, self.found))
        return f"{self.what} {where}: expected {expected}, found {found}"


class RefusedMail(Struct, frozen=True, kw_only=True):
    """The last mail about a group that SES permanently refused to send to an address; `at` is the time of its event."""

    group: str
    address: str
    version: int | None
    environment: str | None
    at: datetime
    reason: str


class OpenDifferences(Struct, frozen=True, kw_only=True):
    """Differences that the last verification found in a group: their number, since when, and the first few."""

    count: int
    since: datetime
    lines: tuple[str, ...] = ()


def chain_problems(events: Iterable[Event], head: Head, *, after: int = 0, previous: str = GENESIS) -> list[Difference]:
    """List the problems of a group's hash chain; empty if the chain is intact.

    Finds altered, removed and inserted events, and a head that doesn't match the last event. `events` follow the event `after`,
    whose hash is `previous`.
    """
    problems: list[Difference] = []

    def wrong(sequence: int, expected: str, found: str) -> None:
        where = f"{head.group} event {sequence}" if sequence else f"{head.group} head"
        problems.append(Difference(what="ledger", where=where, expected=expected, found=found))

    sequence, last = after, head.event_id
    for event in events:
        if event.sequence > head.sequence:
            wrong(event.sequence, f"nothing after the head, event {head.sequence}", f"an event, {event.kind!r}")
            return problems
        if event.sequence != sequence + 1:
            missing = f"{sequence + 1}" + (f" to {event.sequence - 1}" if event.sequence > sequence + 2 else "")
            wrong(sequence + 1, f"event {missing}", f"nothing before event {event.sequence}")
        elif event.previous_hash != previous:
            wrong(event.sequence, f"to follow {previous[:12]}", f"one that follows {event.previous_hash[:12]}")
        if event.hash != event.computed_hash():
            wrong(event.sequence, f"content with the hash {event.hash[:12]}", event.computed_hash()[:12])
        previous, sequence, last = event.hash, event.sequence, event.event_id
    if sequence < head.sequence:
        wrong(sequence + 1, f"an event, for the head is at {head.sequence}", "nothing")
    elif sequence and (head.hash != previous or head.event_id != last):
        wrong(0, f"the hash of event {sequence}, {previous[:12]}", head.hash[:12])
    return problems


def check_chain(events: Iterable[Event], head: Head) -> None:
    """Raise IntegrityError for the first problem of a chain."""
    problems = chain_problems(events, head)
    if problems:
        raise IntegrityError(problems[0].line)
