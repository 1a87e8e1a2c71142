"""Comparison of stored values with the events: one parameter, one history, one state. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TypeVar

import msgspec

from promotion import names
from promotion.client.live_record import read_json
from promotion.domain.model import FOLD_VERSION, EnvironmentState, Head, VersionState
from promotion.ledger.archive import ArchivedHistory, joined
from promotion.ledger.events import Difference
from promotion.ledger.folded_runs import FIELD, FoldedRuns, RunsObject, counted_events, sequence_of
from promotion.ledger.parameter_documents import pages_of, records_agree, version_document

# The value of a page that a repair has made unnecessary; not deleted, because a name can't be recreated for 30 s afterwards.
EMPTIED = "[]"
LONGEST_NUMBER = 9

State = TypeVar("State", VersionState, EnvironmentState)


def version_difference(
    base: str,
    state: VersionState,
    wanted: Sequence[dict[str, object]],
    value: str | None,
    pages: Mapping[str, str],
    objects: Callable[[str], RunsObject | None] | None,
    past: ArchivedHistory | None,
) -> Difference | None:
    """Compare a version's parameters with its state and history; `value` and `pages` are the stored ones.

    `wanted` has the entries of its events, folded no further than the stored ones. `objects` reads an object with the events of
    folded runs; without it these are not compared. `past` is the archived part of the history.

    Returns:
        The first difference; None if there is none.
    """
    events = counted_events(wanted)
    if value is None and past is not None and past.attributes:
        value = json.dumps({**past.attributes, "history": [], "last": sequence_of(past.history[-1])})
    if value is None:
        return parameter_difference(base, f"v{state.version} with {events} events", "nothing")
    document = parsed(value)
    if not document:
        return parameter_difference(base, f"v{state.version} with {events} events", "something that is no record")
    for field, attribute in version_document(state).items():
        if document.get(field) != attribute:
            return parameter_difference(f"{base} {field}", short(attribute), short(document.get(field)))
    numbers = pages_of(document)
    stray = [name for name, page in pages.items() if page_number(name) not in numbers and page != EMPTIED]
    if stray:
        return parameter_difference(min(stray), "nothing, for it is no page of this history", "a value")
    newer = stored_entries(base, document, pages)
    if isinstance(newer, Difference):
        return newer
    entries = joined(past.history if past is not None else (), newer)
    for told, kept in zip(wanted, entries, strict=False):
        if kept != told:
            fields = kept if isinstance(kept, dict) else {"sequence": "something else"}
            said, at = fields.get("sequence"), told["sequence"]
            changed = f"one with another {_first_change(told, fields)}" if said == at else f"event {said}"
            return parameter_difference(f"{base} history", f"event {at}", changed)
    if len(entries) != len(wanted):
        return parameter_difference(f"{base} history", f"{len(wanted)} events", f"{len(entries)}")
    if document.get("last") != sequence_of(wanted[-1]):
        return parameter_difference(f"{base} last", short(wanted[-1]["sequence"]), short(document.get("last")))
    return _object_difference(wanted, objects) if objects is not None else None


def stored_entries(base: str, document: Mapping[str, object], pages: Mapping[str, str]) -> list[object] | Difference:
    """Return the entries of a version's history in Parameter Store, in order; a difference if they can't be read."""
    entries: list[object] = []
    ordered = sorted(pages.items(), key=lambda each: page_number(each[0]))
    for name, page in [*ordered, (base, json.dumps(document.get("history")))]:
        try:
            found = read_json(page)
        except ValueError:
            found = None
        if not isinstance(found, list):
            return parameter_difference(name, "a list of events", "something else")
        entries += found
    return entries


def _object_difference(
    entries: Sequence[Mapping[str, object]], objects: Callable[[str], RunsObject | None]
) -> Difference | None:
    """Compare the S3 objects that folded entries name with the digests in those entries."""
    for named in entries:
        if FIELD not in named:
            continue
        runs = msgspec.convert(named[FIELD], FoldedRuns)
        found, expected_ = objects(runs.object), f"the events of {runs.count} runs, up to event {runs.last}"
        if found is None:
            return Difference(what="evidence", where=runs.object, expected=expected_, found="nothing")
        if found.runs != runs or not found.holds():
            return Difference(what="evidence", where=runs.object, expected=expected_, found="something else")
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
    """Return True if a parameter is a page of a version's history, by its name."""
    number = name.removeprefix(f"{base}/history/")
    return number != name and number.isascii() and number.isdecimal() and len(number) <= LONGEST_NUMBER


def page_number(name: str) -> int:
    """The number of a page of a version's history, by its name."""
    return int(name.rpartition("/")[2])


def late_targets(group: str, head: Head, cursors: Mapping[str, int] | None) -> dict[str, Difference]:
    """Return a difference for each target whose cursor is not at the head."""
    if cursors is None:
        return {}
    return {
        target: Difference(
            what="projection",
            where=f"{group} {target}",
            expected=f"event {head.sequence}",
            found=f"event {cursors.get(target, 0)}: it is on its way, or in the dead-letter queue",
        )
        for target in names.TARGETS
        if cursors.get(target, 0) != head.sequence
    }


def parameter_difference(where: str, expected: str, found: str) -> Difference:
    """Return a difference in a parameter, or in a part of one."""
    return Difference(what="parameter", where=where, expected=expected, found=found)


def live_difference(
    parameter: str,
    wanted: Mapping[str, object],
    value: str | None,
    *,
    signed: Callable[[Mapping[str, object]], bool],
    key_id: str,
    former: Set[str],
) -> Difference | None:
    """Compare a live parameter with the record that should be there.

    `signed` checks a record's signature by the key `key_id`; `former` are the ids of former keys.

    Returns:
        The difference; None if there is none.
    """
    expected = record_summary(wanted)
    if value is None:
        return parameter_difference(parameter, expected, "nothing")
    record = parsed(value)
    if "environment" not in record:
        return parameter_difference(parameter, expected, "something that is no record")
    holds = signed(record)
    if holds and records_agree(record, wanted):
        return None
    place = (record.get("model_package_group"), record.get("environment"))
    if place != (wanted["model_package_group"], wanted["environment"]):
        return parameter_difference(parameter, expected, f"the record of {place[0]} in {place[1]}")
    if record.get("key_id") in former:
        return parameter_difference(
            parameter, f"a signature of {key_id}", f"one of {record['key_id']}, which signed before"
        )
    if record.get("key_id") != key_id:
        return parameter_difference(
            parameter,
            f"a signature of {key_id}",
            f"one of {record.get('key_id')}: do two services share the prefix {parameter.rsplit('/', 3)[0]}?",
        )
    if holds:
        return parameter_difference(
            parameter, expected, f"{record_summary(record)}, signed: an older or another record put back"
        )
    changed = sorted(k for k in wanted.keys() | record.keys() if k != "signature" and wanted.get(k) != record.get(k))
    edited = f"{', '.join(changed)} edited" if changed else "nothing edited"
    return parameter_difference(parameter, expected, f"{edited}, and a signature that doesn't hold")


def signature_difference(where: str, key: str, found: str) -> Difference:
    """Return a difference between a signature in the ledger and one by `key`."""
    return Difference(what="ledger", where=where, expected=f"a signature of {key}", found=found)


def record_summary(record: Mapping[str, object]) -> str:
    """Return a live record in a few words."""
    if record.get("revoked"):
        return f"revoked, of event {record.get('sequence')}"
    if "model_package_version" not in record:
        return "something that is no record"
    return f"v{record['model_package_version']} of event {record.get('sequence')}"


def parsed(value: str) -> dict[str, object]:
    """Return the JSON object of a parameter; empty if the value is not a JSON object."""
    try:
        found = read_json(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def short(value: object) -> str:
    """Return a value as at most 120 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
