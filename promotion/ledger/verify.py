"""Verify the hash chain, signatures and anchors, and compare every projection with the ledger.

Pure over Protocols. The truth is folded from the events anew; the stored states are among what is checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from promotion import names
from promotion.client.live_record import read_json, signed_bytes
from promotion.domain.model import FOLD_VERSION, EnvironmentState, Head, VersionState
from promotion.errors import UNREADABLE, PromotionError
from promotion.ledger.events import Difference, Event, chain_problems, head_bytes
from promotion.ledger.fold import evolve
from promotion.ledger.parameter_documents import entry, live_record, says_the_same, version_document
from promotion.ledger.snapshot import GroupSnapshot

# How often a chain is read anew because somebody appended meanwhile.
READS = 5


class Book(Protocol):
    """The ledger, as far as it is read here."""

    def head(self, group: str) -> Head:
        """Return the group's head."""

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the group's events after a sequence number, in order."""

    def stored_states(self, group: str) -> tuple[dict[str, str], dict[int, str]]:
        """Return the stored states as JSON: of environments by name, of versions by number."""


class Anchor(Struct, frozen=True, kw_only=True):
    """A head as it was on some day, kept where nobody can take it back."""

    name: str
    sequence: int
    hash: str


class Registry(Protocol):
    """The registry's fields of a version, found and expected."""

    def found(self, state: VersionState) -> dict[str, str] | None:
        """Return the fields in the registry; None if the version was deleted there."""

    def expected(self, state: VersionState) -> dict[str, str]:
        """Return the fields that the registry should have."""

    def repair(self, state: VersionState) -> None:
        """Write the expected fields into the registry."""


class Store(Protocol):
    """Parameter Store, to repair differences."""

    def put_live(self, view: GroupSnapshot, name: str, *, anew: bool = False) -> None:
        """Write an environment's live parameter; `anew` writes it even if it is unchanged."""

    def rewrite_version(self, state: VersionState, events: Sequence[Event]) -> None:
        """Write a version's parameters from its state and events."""

    def remove(self, name: str) -> None:
        """Delete a parameter."""


class Found(Struct, frozen=True, kw_only=True):
    """A difference, and what makes it right; None where only a person can."""

    difference: Difference
    repair: Callable[[], None] | None = None


class Verifier(Struct, frozen=True, kw_only=True):
    """Dependencies of a verification run; `holds` checks a base64 signature over a message."""

    ledger: Book
    packages: Registry
    store: Store
    holds: Callable[[bytes, str], bool]
    prefix: str
    key_id: str

    def group(
        self,
        group: str,
        *,
        parameters: Mapping[str, str],
        anchors: Sequence[Anchor] = (),
        cursors: Mapping[str, int] | None = None,
    ) -> list[Found]:
        """All differences of one group, `parameters` being all of its parameters by name.

        While the chain itself is broken nothing else is compared, let alone repaired: what is right is no longer known.
        Whatever stands in an item or a parameter, what comes out is a difference.
        """
        try:
            head, events = read_chain(self.ledger, group)
        except UNREADABLE as error:
            return [_unreadable(group, "events", error)]
        try:
            return self._differences(group, head, events, parameters, anchors, cursors)
        except UNREADABLE as error:
            return [_unreadable(group, "events, states and parameters", error)]

    def _differences(
        self,
        group: str,
        head: Head,
        events: Sequence[Event],
        parameters: Mapping[str, str],
        anchors: Sequence[Anchor],
        cursors: Mapping[str, int] | None,
    ) -> list[Found]:
        broken = [
            *chain_problems(events, head),
            *self._signatures(head, events),
            *_anchored(group, head, events, anchors),
        ]
        broken += self._ahead(head, parameters)
        if broken:
            return [Found(difference=difference) for difference in broken]
        view = GroupSnapshot(Head(group=group))
        for event in events:
            evolve(view, event)
        view.head = head
        try:
            states = [Found(difference=difference) for difference in self._states(view)]
        except UNREADABLE as error:
            states = [_unreadable(group, "states", error)]
        behind = _behind(group, head, cursors)
        by_target = {
            names.REGISTRY: list(self._registry(view)),
            names.PARAMETERS: list(self._parameters(view, events, parameters)),
        }
        found = [each for target, differing in by_target.items() if target not in behind for each in differing]
        late = [
            Found(difference=difference, repair=_all_of(by_target.get(target, [])))
            for target, difference in behind.items()
        ]
        return [*states, *found, *late]

    def strangers(self, groups: Sequence[str], parameters: Mapping[str, str]) -> list[Found]:
        """Parameters of groups that this ledger has never heard of: another service under the same prefix, or an intruder."""
        found = []
        for name in sorted(parameters):
            group = name.removeprefix(f"{self.prefix}/").partition("/")[0]
            if group not in groups and name != names.service_parameter(self.prefix):
                key = _json(parameters[name]).get("key_id", "")
                said = "a record signed by this service" if key == self.key_id else "something"
                if key and key != self.key_id:
                    said = f"a record signed by {key}: do two services share the prefix {self.prefix}?"
                found.append(Found(difference=_parameter(name, "nothing, for the ledger has no such group", said)))
        return found

    def _signatures(self, head: Head, events: Sequence[Event]) -> Iterator[Difference]:
        for event in events:
            message = head_bytes(event.group, event.sequence, event.hash)
            if event.signature and not self.holds(message, event.signature):
                where = f"{event.group} event {event.sequence}"
                yield Difference(
                    what="ledger", where=where, expected="a signature of the signing key", found="another's"
                )
        if head.sequence and not self.holds(head_bytes(head.group, head.sequence, head.hash), head.signature):
            said = "another's" if head.signature else "none"
            yield Difference(
                what="ledger", where=f"{head.group} head", expected="a signature of the signing key", found=said
            )

    def _ahead(self, head: Head, parameters: Mapping[str, str]) -> Iterator[Difference]:
        """Live records, signed, of events that the ledger doesn't have any more."""
        for name, value in sorted(parameters.items()):
            record = _json(value)
            sequence = record.get("sequence")
            if isinstance(sequence, int) and sequence > head.sequence and self._signed(record):
                yield Difference(
                    what="ledger",
                    where=f"{head.group} head",
                    expected=f"event {sequence} or later, which {name} was signed for",
                    found=f"event {head.sequence}: its tail was cut, or an older copy restored",
                )

    def _signed(self, record: Mapping[str, Any]) -> bool:
        return isinstance(record.get("signature"), str) and self.holds(signed_bytes(record), record["signature"])

    def _states(self, view: GroupSnapshot) -> Iterator[Difference]:
        """Find stored states that differ from those folded from the events.

        A state of another fold version is not compared: `fold.read_state` ignores it, and the next append rewrites it.
        """
        environments, versions = self.ledger.stored_states(view.group)
        for number in sorted(view.versions.keys() | versions.keys()):
            where = f"{view.group} state of v{number}"
            yield from _fields(where, view.versions.get(number), versions.get(number), VersionState)
        for name in sorted(view.environments.keys() | environments.keys()):
            where = f"{view.group} state of {name}"
            yield from _fields(where, view.environments.get(name), environments.get(name), EnvironmentState)

    def _registry(self, view: GroupSnapshot) -> Iterator[Found]:
        live = {environment.live for environment in view.environments.values()}
        for number, state in sorted(view.versions.items()):
            expected, found = self.packages.expected(state), self.packages.found(state)
            arn = state.package.arn
            if found is None:
                # Old versions are cleared away; one that serves must not be.
                if number in live:
                    said = Difference(
                        what="registry", where=arn, expected="the package, for it is live", found="nothing"
                    )
                    yield Found(difference=said)
                continue
            for field, value in expected.items():
                if found.get(field) != value:
                    said = Difference(
                        what="registry", where=f"{arn} {field}", expected=value, found=found.get(field, "nothing")
                    )
                    yield Found(difference=said, repair=_bind(self.packages.repair, state))

    def _parameters(
        self, view: GroupSnapshot, events: Sequence[Event], parameters: Mapping[str, str]
    ) -> Iterator[Found]:
        known: set[str] = set()
        for name, environment in sorted(view.environments.items()):
            parameter = names.live_parameter(self.prefix, view.group, name)
            known.add(parameter)
            wanted = live_record(view, environment, self.key_id)
            value = parameters.get(parameter)
            if wanted is None:
                if value is not None:
                    said = _parameter(parameter, "nothing, for nothing was ever live there", _says(_json(value)))
                    yield Found(difference=said, repair=_bind(self.store.remove, parameter))
            elif (difference := self._live(parameter, wanted, value)) is not None:
                yield Found(difference=difference, repair=_bind(self._put_live, view, name))
        for number, state in sorted(view.versions.items()):
            own = [event for event in events if event.version == number]
            base = names.version_parameter(self.prefix, view.group, number)
            pages = {n: v for n, v in parameters.items() if _is_page(n, base)}
            known |= {base, *pages}
            difference = _version_differs(base, state, own, parameters.get(base), pages)
            if difference is not None:
                yield Found(difference=difference, repair=_bind(self.store.rewrite_version, state, own))
        for parameter in sorted(parameters.keys() - known):
            said = _parameter(parameter, "nothing", "a value that nobody here wrote")
            yield Found(difference=said, repair=_bind(self.store.remove, parameter))

    def _put_live(self, view: GroupSnapshot, name: str) -> None:
        self.store.put_live(view, name, anew=True)

    def _live(self, parameter: str, wanted: Mapping[str, Any], value: str | None) -> Difference | None:
        expected = _says(wanted)
        if value is None:
            return _parameter(parameter, expected, "nothing")
        record = _json(value)
        if "environment" not in record:
            return _parameter(parameter, expected, "something that is no record")
        signed = self._signed(record)
        if signed and says_the_same(record, wanted):
            return None
        place = (record.get("model_package_group"), record.get("environment"))
        if place != (wanted["model_package_group"], wanted["environment"]):
            return _parameter(parameter, expected, f"the record of {place[0]} in {place[1]}")
        if record.get("key_id") != self.key_id:
            return _parameter(
                parameter,
                f"a signature of {self.key_id}",
                f"one of {record.get('key_id')}: do two services share the prefix {self.prefix}?",
            )
        if signed:
            return _parameter(parameter, expected, f"{_says(record)}, signed: an older or another record put back")
        changed = sorted(
            k for k in wanted.keys() | record.keys() if k != "signature" and wanted.get(k) != record.get(k)
        )
        edited = f"{', '.join(changed)} edited" if changed else "nothing edited"
        return _parameter(parameter, expected, f"{edited}, and a signature that doesn't hold")


def read_chain(ledger: Book, group: str) -> tuple[Head, list[Event]]:
    """A group's head and all events, as of one moment."""
    head = ledger.head(group)
    for _ in range(READS):
        events = list(ledger.events(group))
        after = ledger.head(group)
        if after == head:
            return head, events
        before, head = head, after
    # A busy group: what came while it was read is for the next time.
    return before, [event for event in events if event.sequence <= before.sequence]


def _anchored(group: str, head: Head, events: Sequence[Event], anchors: Sequence[Anchor]) -> Iterator[Difference]:
    by_sequence = {event.sequence: event.hash for event in events}
    for anchor in anchors:
        found = by_sequence.get(anchor.sequence)
        if found == anchor.hash:
            continue
        said = found[:12] if found else f"a ledger that ends at event {head.sequence}"
        expected = f"the hash {anchor.hash[:12]}, as {anchor.name} has it"
        yield Difference(what="ledger", where=f"{group} event {anchor.sequence}", expected=expected, found=said)


def _behind(group: str, head: Head, cursors: Mapping[str, int] | None) -> dict[str, Difference]:
    """Targets that the projector has not brought to the head yet."""
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


def _version_differs(
    base: str, state: VersionState, events: Sequence[Event], value: str | None, pages: Mapping[str, str]
) -> Difference | None:
    if value is None:
        return _parameter(base, f"v{state.version} with {len(events)} events", "nothing")
    document = _json(value)
    if not document:
        return _parameter(base, f"v{state.version} with {len(events)} events", "something that is no record")
    for field, wanted in version_document(state).items():
        if document.get(field) != wanted:
            return _parameter(f"{base} {field}", _short(wanted), _short(document.get(field)))
    entries: list[Any] = []
    for name, page in [*sorted(pages.items()), (base, json.dumps(document.get("history")))]:
        try:
            found = read_json(page)
        except ValueError:
            found = None
        if not isinstance(found, list):
            return _parameter(name, "a list of events", "something else")
        entries += found
    for event, kept in zip(events, entries, strict=False):
        wanted = entry(event)
        if kept != wanted:
            said = kept.get("sequence") if isinstance(kept, dict) else "something else"
            changed = f"one with another {_first_change(wanted, kept)}" if said == event.sequence else f"event {said}"
            return _parameter(f"{base} history", f"event {event.sequence}", changed)
    if len(entries) != len(events):
        return _parameter(f"{base} history", f"{len(events)} events", f"{len(entries)}")
    if document.get("last") != events[-1].sequence:
        return _parameter(f"{base} last", str(events[-1].sequence), _short(document.get("last")))
    return None


def _fields(where: str, wanted: Any, text: str | None, kind: type[Any]) -> Iterator[Difference]:
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
    yield Difference(
        what="ledger", where=f"{where}, {field}", expected=_short(mine[field]), found=_short(theirs[field])
    )


def _first_change(wanted: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    return next((key for key in [*wanted, *kept] if wanted.get(key) != kept.get(key)), "field")


def _is_page(name: str, base: str) -> bool:
    """Whether a parameter is a page of a version's history, by its name."""
    number = name.removeprefix(f"{base}/history/")
    return number != name and number.isascii() and number.isdecimal()


def _unreadable(group: str, things: str, error: Exception) -> Found:
    said = str(error) if isinstance(error, PromotionError) else f"{type(error).__name__}: {error}"
    return Found(difference=Difference(what="ledger", where=group, expected=f"{things} that can be read", found=said))


def _parameter(where: str, expected: str, found: str) -> Difference:
    return Difference(what="parameter", where=where, expected=expected, found=found)


def _says(record: Mapping[str, Any]) -> str:
    """A live record in a few words."""
    if record.get("revoked"):
        return f"revoked, of event {record.get('sequence')}"
    if "model_package_version" not in record:
        return "something that is no record"
    return f"v{record['model_package_version']} of event {record.get('sequence')}"


def _json(value: str) -> dict[str, Any]:
    try:
        found = read_json(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _bind(act: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    return lambda: act(*arguments)


def _all_of(found: Sequence[Found]) -> Callable[[], None]:
    def repair() -> None:
        for each in found:
            if each.repair is not None:
                each.repair()

    return repair
