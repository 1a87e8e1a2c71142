"""One decision as a file that an auditor checks offline, with the public key and nothing else.

It holds all events from the version's registration to the decision, without a gap and with the last one signed; and the policy
that was in force, whose digest every event names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from promotion import names
from promotion.domain.model import Head, Package, Request
from promotion.domain.policy import shown_digest
from promotion.domain.request_ids import parse_request_id
from promotion.errors import IntegrityError, Invalid, require
from promotion.ledger.events import Event, StoredEvent, head_bytes, read_event
from promotion.ledger.fold import evolve
from promotion.ledger.payloads import (
    ApprovalRequested,
    DecisionRecorded,
    ModelPromoted,
    RequestExpired,
    RequestSuperseded,
    RequestWithdrawn,
)
from promotion.ledger.snapshot import GroupSnapshot

SCHEMA = 1


class Bundle(Struct, frozen=True, kw_only=True):
    """The events of one decision, each as the text that its hash covers.

    `policy` is the text of the policy in force, from its `Policy Changed` event: the other events name its SHA-256.
    """

    schema: int = SCHEMA
    request_id: str
    events: tuple[StoredEvent, ...]
    policy: str = ""

    def read_events(self) -> list[Event]:
        """Decode the events from their texts.

        Raises:
            IntegrityError: an event can't be read.
        """
        return [read_event(stored) for stored in self.events]


def bundle(request_id: str, events: Iterable[Event]) -> Bundle:
    """Return the bundle of a request, from all events of its group.

    Raises:
        Invalid: there is no such request, or nobody has decided on it yet.
    """
    _, version, environment, attempt = parse_request_id(request_id)
    chain = list(events)
    own = [event for event in chain if event.version == version]
    if not any(_asks(event, environment, attempt) for event in own):
        raise Invalid("REQUEST_ID", f"there is no request {request_id}.")
    about = [event for event in own if _about(event, request_id)]
    if not about:
        raise Invalid("REQUEST_ID", f"nobody has decided on {request_id} yet.")
    first, last = own[0].sequence, about[-1].sequence
    # Includes the rest of the same append, because only the last event of an append is signed.
    end = next((event.sequence for event in chain if event.sequence >= last and event.signature), last)
    digest = about[-1].policy_digest
    policies = (event.part("policy") for event in chain if event.kind == names.POLICY_CHANGED)
    return Bundle(
        request_id=request_id,
        events=tuple(event.stored() for event in chain if first <= event.sequence <= end),
        policy=next((text for text in policies if text_digest(text) == digest), ""),
    )


def read(text: bytes) -> Bundle:
    """Decode a bundle from a file.

    Raises:
        Invalid: it is not a bundle of this schema.
    """
    try:
        found = msgspec.json.decode(text, type=Bundle)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Invalid("FILE", f"this is no bundle: {error}") from None
    if not 1 <= found.schema <= SCHEMA + 1 or not found.events:
        raise Invalid("FILE", f"this is no bundle of schema 1 to {SCHEMA + 1}.")
    return found


def write(found: Bundle) -> bytes:
    """Return the bundle as indented JSON, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def problems(found: Bundle, holds: Callable[[bytes, str], bool]) -> list[str]:
    """List the problems of a bundle, one line each; empty if it proves the decision."""
    try:
        events = found.read_events()
    except IntegrityError as error:
        return [str(error)]
    wrong: list[str] = []
    for before, event in zip((None, *events), events, strict=False):
        if event.hash != event.computed_hash():
            wrong.append(f"event {event.sequence}: altered; its hash is not that of its content")
        if before and (event.sequence != before.sequence + 1 or event.previous_hash != before.hash):
            wrong.append(f"event {event.sequence}: does not follow event {before.sequence}")
    last = events[-1]
    if not last.signature or not holds(head_bytes(last.group, last.sequence, last.hash), last.signature):
        wrong.append(f"event {last.sequence}: not signed by this key, and all before it hang on that")
    group, version, environment, _ = parse_request_id(found.request_id)
    decisions = [event for event in events if _about(event, found.request_id)]
    if any(event.group != group for event in events) or not decisions:
        wrong.append(f"there is no decision on {found.request_id} in it")
    wrong += [
        f"event {event.sequence}: was made under another policy than the one enclosed"
        for event in decisions
        if event.policy_digest != text_digest(found.policy)
    ]
    # The votes are compared with what the registration and the requests before them have.
    if next((event.kind for event in events if event.version == version), "") != names.MODEL_REGISTERED:
        wrong.append(f"it does not begin with the registration of v{version}")
    if not wrong:
        wrong += _shown(events, version, environment)
    return wrong


def request_of(found: Bundle) -> Request:
    """Return the request as of the last event of a bundle."""
    _, version, environment, _ = parse_request_id(found.request_id)
    return folded(found.read_events(), version).version(version).requests[environment]


def package_of(found: Bundle) -> Package:
    """Return the package that was decided on, as of the last event of a bundle."""
    _, version, _, _ = parse_request_id(found.request_id)
    return folded(found.read_events(), version).version(version).package


def text_digest(text: str) -> str:
    """SHA-256, hex, of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(events: Iterable[Event], version: int, environment: str) -> list[str]:
    """Check that each vote names the digest of the evidence in the bundle."""
    wrong: list[str] = []
    view: GroupSnapshot | None = None
    for event in events:
        if event.version != version:
            continue
        view = view or GroupSnapshot(Head(group=event.group))
        if event.kind == names.DECISION_RECORDED and event.environment == environment:
            state = view.version(version)
            if event.evidence_digest != shown_digest(state, state.requests[environment]):
                wrong.append(f"event {event.sequence}: what was shown is not the evidence enclosed")
        evolve(view, event)
    return wrong


def folded(events: Iterable[Event], version: int) -> GroupSnapshot:
    """Return the states folded from one version's own events, from its registration on, skipping other events."""
    view: GroupSnapshot | None = None
    for event in events:
        view = view or GroupSnapshot(Head(group=event.group))
        if event.version == version:
            evolve(view, event)
    return require(view, f"version {version}", "events")


def _asks(event: Event, environment: str, attempt: int) -> bool:
    asked = event.payload
    return isinstance(asked, ApprovalRequested) and event.environment == environment and asked.attempt == attempt


def _about(event: Event, request_id: str) -> bool:
    match event.payload:
        case (
            DecisionRecorded() | ModelPromoted() | RequestExpired() | RequestSuperseded() | RequestWithdrawn() as closes
        ):
            return closes.request_id == request_id
        case _:
            return False
