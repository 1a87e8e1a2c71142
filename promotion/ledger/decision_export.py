"""One decision as a file that an auditor checks offline, with the public key and nothing else.

It holds the events from the version's registration to the decision, unbroken, the last of them signed; and the policy that was
in force, whose digest every event names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from promotion import names
from promotion.domain.model import Head, Request, canonical, parse_request_id
from promotion.domain.policy import shown_digest
from promotion.errors import Invalid
from promotion.ledger.events import Event, head_bytes
from promotion.ledger.fold import evolve
from promotion.ledger.snapshot import GroupSnapshot

SCHEMA = 1


class Bundle(Struct, frozen=True, kw_only=True):
    """The events of one decision. `policy` is the text of the policy under which it was made."""

    schema: int = SCHEMA
    request_id: str
    events: tuple[Event, ...]
    policy: dict[str, Any]


def bundle(request_id: str, events: Iterable[Event]) -> Bundle:
    """The bundle of a request, from all events of its group.

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
    # On to where its append ended: the last event of each is signed.
    end = next((event.sequence for event in chain if event.sequence >= last and event.signature), last)
    digest = about[-1].policy_digest
    policies = [
        event.data["policy"] for event in chain if event.kind == names.POLICY_CHANGED and "policy" in event.data
    ]
    policy: dict[str, Any] = next((found for found in policies if policy_digest(found) == digest), {})
    return Bundle(
        request_id=request_id,
        events=tuple(event for event in chain if first <= event.sequence <= end),
        policy=policy,
    )


def read(text: bytes) -> Bundle:
    """A bundle from a file.

    Raises:
        Invalid: it is none of this schema.
    """
    try:
        found = msgspec.json.decode(text, type=Bundle)
    except msgspec.DecodeError as error:
        raise Invalid("FILE", f"this is no bundle: {error}") from None
    if found.schema != SCHEMA or not found.events:
        raise Invalid("FILE", f"this is no bundle of schema {SCHEMA}.")
    return found


def write(found: Bundle) -> bytes:
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def problems(found: Bundle, holds: Callable[[bytes, str], bool]) -> list[str]:
    """What is wrong with a bundle, one line each; empty when it proves what it says."""
    wrong: list[str] = []
    events = found.events
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
        if event.policy_digest != policy_digest(found.policy)
    ]
    if not wrong:
        wrong += _shown(found, version, environment)
    return wrong


def request_of(found: Bundle) -> Request:
    """The request as it stood after the last event of a bundle."""
    _, version, environment, _ = parse_request_id(found.request_id)
    return _folded(found.events, version).version(version).requests[environment]


def policy_digest(policy: Any) -> str:
    return hashlib.sha256(canonical(policy)).hexdigest()


def _shown(found: Bundle, version: int, environment: str) -> list[str]:
    """Whether each voter was shown what the ledger says was shown."""
    wrong: list[str] = []
    view = GroupSnapshot(Head(group=found.events[0].group))
    for event in found.events:
        if event.version != version:
            continue
        if event.kind == names.DECISION_RECORDED and event.environment == environment:
            state = view.version(version)
            if event.evidence_digest != shown_digest(state.package, state.requests[environment]):
                wrong.append(f"event {event.sequence}: what was shown is not the evidence enclosed")
        evolve(view, event)
    return wrong


def _folded(events: Iterable[Event], version: int) -> GroupSnapshot:
    """The states that one version's own events come to; others' are only links of the chain here."""
    view: GroupSnapshot | None = None
    for event in events:
        view = view or GroupSnapshot(Head(group=event.group))
        if event.version == version:
            evolve(view, event)
    assert view is not None
    return view


def _asks(event: Event, environment: str, attempt: int) -> bool:
    asked = event.kind == names.APPROVAL_REQUESTED and event.environment == environment
    return asked and event.data.get("attempt") == attempt


def _about(event: Event, request_id: str) -> bool:
    closes = event.kind in (
        names.DECISION_RECORDED, names.MODEL_PROMOTED, names.REQUEST_EXPIRED, names.REQUEST_SUPERSEDED,
    )  # fmt: skip
    return closes and event.data.get("request_id") == request_id
