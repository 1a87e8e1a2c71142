"""Optimistic append to the ledger: read the states, decide on events, and append them unless the head has moved."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from promotion.config.loading import Config
from promotion.domain.model import Head, VersionState
from promotion.domain.people import SYSTEM
from promotion.errors import Conflict, Invalid
from promotion.formatting import counted, one_line
from promotion.ledger.events import Event, NewEvent, chained, happened, key_change_bytes, signed
from promotion.ledger.fold import evolve
from promotion.ledger.parameter_documents import dump
from promotion.ledger.payloads import PolicyChanged, SigningKeyChanged
from promotion.ledger.snapshot import GroupSnapshot

# Attempts of a step if another writer appends first.
ATTEMPTS = 12
LONGEST_REASON_BYTES = 2000


class Ledger(Protocol):
    """The ledger: append-only events and the states folded from them."""

    def view(self, group: str) -> GroupSnapshot:
        """Return the states of a group as of its head, by a consistent read."""

    def append(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        """Append `events` and the changed states in one transaction, if the head is still `view.head`.

        Raises:
            Conflict: another writer appended first; nothing was written.
        """

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the events of a group after a sequence number, in order."""


class Receipt(Struct, frozen=True, kw_only=True):
    """Events that this call, or an earlier identical one, appended; if there are none, `note` has the reason."""

    group: str
    events: tuple[Event, ...] = ()
    note: str = ""

    @property
    def sequence(self) -> int:
        """Sequence number of the last appended event; 0 if none was appended."""
        return self.events[-1].sequence if self.events else 0


def _at_once(attempt: int) -> None:
    """Start the next attempt without a pause."""


def _cannot_sign(key_id: str, message: bytes) -> bytes | None:
    """Return None: there is no former key."""
    return None


class Context(Struct, frozen=True, kw_only=True):
    """Dependencies of a workflow: the ledger, the configuration in force, and the time.

    `sign` signs the head of each append with the key `key_id`; `sign_formerly` signs with a former key, by its id, and returns
    None if that key can't sign any more. `pause` is called with the number of the attempt that lost a race.
    """

    ledger: Ledger
    config: Config
    now: datetime
    sign: Callable[[bytes], bytes] | None = None
    key_id: str = ""
    sign_formerly: Callable[[str, bytes], bytes | None] = _cannot_sign
    pause: Callable[[int], None] = _at_once


def checked_reason(text: str) -> str:
    """Return a trimmed reason.

    Raises:
        Invalid: it is empty, too long for the history's pages, or has control characters.
    """
    text = text.replace("\r\n", "\n").strip()
    # Text of only joiners (which connect visible characters), spaces and other invisible characters counts as empty.
    if not one_line(text).strip("\u200c\u200d "):
        raise Invalid("reason", "say why, in a sentence.")
    # The length as JSON without the quotation marks around it: a quote or a line break takes two bytes there.
    if (length := len(dump(text).encode()) - 2) > LONGEST_REASON_BYTES:
        # Given in characters, because people can't count bytes; the bytes of a character depend on its script.
        over = -(-(length - LONGEST_REASON_BYTES) * len(text) // length)
        raise Invalid(
            "reason", f"it is about {counted(over, 'character')} too long; say the rest where it can be linked to."
        )
    if any(ord(character) < 0x20 and character != "\n" for character in text):
        raise Invalid("reason", "control characters can't be kept.")
    return text


def append(group: str, step: Callable[[GroupSnapshot], list[NewEvent] | str], context: Context) -> Receipt:
    """Read, decide and append; start again if another process appended in between.

    Raises:
        Conflict: another process appended in between in each of `ATTEMPTS` attempts.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return _append_once(group, step, context)
        except Conflict:
            context.pause(attempt)
    return _append_once(group, step, context)


def _append_once(group: str, step: Callable[[GroupSnapshot], list[NewEvent] | str], context: Context) -> Receipt:
    """Read, decide and append.

    Raises:
        Conflict: another process appended after the read.
    """
    view = context.ledger.view(group)
    facts = step(view)
    if isinstance(facts, str):
        return Receipt(group=group, note=facts)
    digest = context.config.policy_digest()
    if view.head.policy_digest != digest:
        # The text itself, once: a digest alone shows an auditor that a rule changed, but not which.
        change = PolicyChanged(before=view.head.policy_digest, after=digest, policy=context.config.policy())
        facts = [happened(change, SYSTEM), *facts]
    if context.sign is not None and view.head.key_id not in ("", context.key_id):
        facts = [_key_changed(view.head, context, context.sign), *facts]
    events = chained(view.head, facts, time=context.now, policy_digest=digest)
    if context.sign is not None:
        events = signed(events, context.sign, context.key_id)
    for event in events:
        evolve(view, event)
    context.ledger.append(view, events)
    return Receipt(group=group, events=tuple(events))


def _key_changed(head: Head, context: Context, sign: Callable[[bytes], bytes]) -> NewEvent:
    """Return the event of a key rotation, signed by both keys, or by the new one alone if the former is lost."""
    text = key_change_bytes(head.group, head.hash, head.key_id, context.key_id)
    made = {head.key_id: context.sign_formerly(head.key_id, text), context.key_id: sign(text)}
    signatures = {key: base64.b64encode(each).decode() for key, each in made.items() if each is not None}
    return happened(SigningKeyChanged(before=head.key_id, after=context.key_id, signatures=signatures), SYSTEM)


def known(view: GroupSnapshot, version: int) -> VersionState:
    """Return the state of a version.

    Raises:
        Invalid: the version was never registered.
    """
    state = view.find_version(version)
    if state is None:
        raise Invalid("version", f"{view.group} has no version {version} that this service knows of.")
    return state
