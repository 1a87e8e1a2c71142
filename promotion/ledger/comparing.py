"""Differences between what is stored and what the events say: of one parameter, one history, one state. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from promotion.client.live_record import read_json
from promotion.domain.model import FOLD_VERSION, EnvironmentState, VersionState
from promotion.ledger.events import Difference, Event
from promotion.ledger.parameter_documents import entry, version_document

State = TypeVar("State", VersionState, EnvironmentState)


def version_difference(
    base: str, state: VersionState, events: Sequence[Event], value: str | None, pages: Mapping[str, str]
) -> Difference | None:
    """Compare a version's parameters with its state and events; `value` and `pages` are what is stored.

    Returns:
        The first difference; None if there is none.
    """
    if value is None:
        return parameter_difference(base, f"v{state.version} with {len(events)} events", "nothing")
    document = parsed(value)
    if not document:
        return parameter_difference(base, f"v{state.version} with {len(events)} events", "something that is no record")
    for field, wanted in version_document(state).items():
        if document.get(field) != wanted:
            return parameter_difference(f"{base} {field}", short(wanted), short(document.get(field)))
    entries: list[object] = []
    for name, page in [*sorted(pages.items()), (base, json.dumps(document.get("history")))]:
        try:
            found = read_json(page)
        except ValueError:
            found = None
        if not isinstance(found, list):
            return parameter_difference(name, "a list of events", "something else")
        entries += found
    for event, kept in zip(events, entries, strict=False):
        wanted = entry(event)
        if kept != wanted:
            fields = kept if isinstance(kept, dict) else {"sequence": "something else"}
            said = fields.get("sequence")
            changed = f"one with another {_first_change(wanted, fields)}" if said == event.sequence else f"event {said}"
            return parameter_difference(f"{base} history", f"event {event.sequence}", changed)
    if len(entries) != len(events):
        return parameter_difference(f"{base} history", f"{len(events)} events", f"{len(entries)}")
    if document.get("last") != events[-1].sequence:
        return parameter_difference(f"{base} last", str(events[-1].sequence), short(document.get("last")))
    return None


def state_difference(where: str, wanted: State | None, text: str | None, kind: type[State]) -> Iterator[Difference]:
    """Yield the first difference of a stored state, as JSON, from the state folded from the events."""
    if wanted is None or text is None:
        if wanted is not text:
            expected, found = ("nothing", "a state") if wanted is None else ("a state", "nothing")
            yield Difference(what="ledger", where=where, expected=expected, found=found)
        return
    try:
        stored = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        yield Difference(what="ledger", where=where, expected="a state that can be read", found=str(error))
        return
    if stored.fold != FOLD_VERSION or wanted == stored:
        return
    mine, theirs = msgspec.to_builtins(wanted), msgspec.to_builtins(stored)
    field = next(name for name in mine if mine[name] != theirs[name])
    yield Difference(what="ledger", where=f"{where}, {field}", expected=short(mine[field]), found=short(theirs[field]))


def _first_change(wanted: Mapping[str, object], kept: Mapping[str, object]) -> str:
    return next((key for key in [*wanted, *kept] if wanted.get(key) != kept.get(key)), "field")


def is_page(name: str, base: str) -> bool:
    """Whether a parameter is a page of a version's history, by its name."""
    number = name.removeprefix(f"{base}/history/")
    return number != name and number.isascii() and number.isdecimal()


def parameter_difference(where: str, expected: str, found: str) -> Difference:
    """A difference of a parameter, or of a part of one."""
    return Difference(what="parameter", where=where, expected=expected, found=found)


def record_summary(record: Mapping[str, object]) -> str:
    """Return a live record in a few words."""
    if record.get("revoked"):
        return f"revoked, of event {record.get('sequence')}"
    if "model_package_version" not in record:
        return "something that is no record"
    return f"v{record['model_package_version']} of event {record.get('sequence')}"


def parsed(value: str) -> dict[str, object]:
    """Return the JSON object of a parameter; empty if it is none."""
    try:
        found = read_json(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def short(value: object) -> str:
    """Return a value as at most 120 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
