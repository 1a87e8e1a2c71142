"""Verify the hash chain, signatures and anchors, and compare every projection with the ledger.

Pure over Protocols. The expected states are folded from the events again; the stored states are checked against them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import partial

from msgspec import Struct

from promotion import names
from promotion.client.live_record import signed_bytes
from promotion.domain.model import EnvironmentState, Head, VersionState
from promotion.errors import UNREADABLE, PromotionError
from promotion.ledger.archive import in_use, joined
from promotion.ledger.archive_check import ArchiveCheck
from promotion.ledger.chain import read_stored_chain
from promotion.ledger.checked import LedgerReader, Registry, Store, StoredHead
from promotion.ledger.checkpoint import Checkpoint, Folded, History, folded_since
from promotion.ledger.checkpoint import after as next_checkpoint
from promotion.ledger.comparing import (
    is_page,
    late_targets,
    live_difference,
    parameter_difference,
    parsed,
    record_summary,
    signature_difference,
    state_difference,
    stored_entries,
    version_difference,
)
from promotion.ledger.events import Difference, Event, chain_problems, head_bytes, key_change_bytes
from promotion.ledger.folded_runs import RunsObject, expected
from promotion.ledger.parameter_documents import live_record
from promotion.ledger.payloads import SigningKeyChanged
from promotion.ledger.snapshot import GroupSnapshot

# Targets that are compared with the ledger.
_PROJECTIONS = (names.REGISTRY, names.PARAMETERS)


class Anchor(Struct, frozen=True, kw_only=True):
    """A head at an earlier time, stored where it can't be deleted."""

    name: str
    sequence: int
    hash: str


class Mismatch(Struct, frozen=True, kw_only=True):
    """A difference, and the function that repairs it; None if only a person can."""

    difference: Difference
    repair: Callable[[], None] | None = None


def _never_held(message: bytes, signature: str, at: datetime) -> bool:
    """Return False: there is no former key."""
    return False


def _none_kept(key: str) -> None:
    """Return None: there is no such object."""


class Verifier(Struct, frozen=True, kw_only=True):
    """Dependencies of a verification run.

    `holds` checks a base64 signature over a message by the present key, `held` a signature that a former key made at a given
    time; `former` are the ids of the former keys. `kept_runs` reads an S3 object with the events of folded runs, `archived` an
    object of the archive.
    """

    ledger: LedgerReader
    packages: Registry
    store: Store
    holds: Callable[[bytes, str], bool]
    prefix: str
    key_id: str
    held: Callable[[bytes, str, datetime], bool] = _never_held
    former: frozenset[str] = frozenset()
    kept_runs: Callable[[str], RunsObject | None] = _none_kept
    archived: Callable[[str], bytes | None] = _none_kept

    def group(
        self,
        group: str,
        *,
        parameters: Mapping[str, str],
        anchors: Sequence[Anchor] = (),
        cursors: Mapping[str, int] | None = None,
    ) -> list[Mismatch]:
        """Return all differences of one group from its first event on; `parameters` are all of its parameters by name.

        If the chain is broken, nothing else is compared or repaired, because the right values are unknown. Malformed content of
        an item or a parameter is a difference, not an error.
        """
        since = Checkpoint(group=group)
        return self.verified(since, parameters=parameters, anchors=anchors, cursors=cursors)[0]

    def verified(
        self,
        since: Checkpoint,
        *,
        parameters: Mapping[str, str],
        anchors: Sequence[Anchor] = (),
        cursors: Mapping[str, int] | None = None,
    ) -> tuple[list[Mismatch], Checkpoint | None]:
        """Return the differences of a group after a checkpoint, and the next checkpoint if there are none.

        All states and parameters are compared, packages only of versions that changed since, or are live or pending.
        """
        try:
            stored, events = read_stored_chain(self.ledger, since.group, after=since.sequence)
        except UNREADABLE as error:
            return [_unreadable(since.group, "events", error)], None
        try:
            return self._differences(since, stored, events, parameters, anchors, cursors)
        except UNREADABLE as error:
            return [_unreadable(since.group, "events, states and parameters", error)], None

    def _differences(
        self,
        since: Checkpoint,
        stored: StoredHead,
        events: Sequence[Event],
        parameters: Mapping[str, str],
        anchors: Sequence[Anchor],
        cursors: Mapping[str, int] | None,
    ) -> tuple[list[Mismatch], Checkpoint | None]:
        group, head = since.group, stored.head
        broken = [
            *chain_problems(events, head, after=since.sequence, previous=since.previous_hash),
            *self._signatures(head, events, since),
            *_anchored(since, head, events, anchors),
        ]
        broken += self._ahead(head, parameters)
        if broken:
            return [Mismatch(difference=difference) for difference in broken], None
        folded = folded_since(since, events)
        folded.view.head = head
        beside = [Mismatch(difference=difference) for difference in stored.differences(folded.view)]
        try:
            states = [Mismatch(difference=difference) for difference in self._states(folded.view)]
        except UNREADABLE as error:
            states = [_unreadable(group, "states", error)]
        behind = late_targets(group, head, cursors)
        by_target = {target: self._projection(target, folded, parameters) for target in _PROJECTIONS}
        found: list[Mismatch] = []
        for target, differing in by_target.items():
            if target in behind and differing:
                reached = (cursors or {}).get(target, 0)
                found += self._also_before(target, differing, since, events, parameters, reached)
            else:
                found += differing
        late = [
            Mismatch(difference=difference, repair=_all_of(by_target.get(target, [])))
            for target, difference in behind.items()
        ]
        differences = [*beside, *states, *found, *late]
        if differences or not head.sequence:
            return differences, None
        return [], next_checkpoint(since, head, events, folded.view, folded.histories)

    def _projection(self, target: str, folded: Folded, parameters: Mapping[str, str]) -> list[Mismatch]:
        """Return the differences of one target from the folded states."""
        if target == names.REGISTRY:
            return list(self._registry(folded.view, folded.changed))
        return list(self._parameters(folded.view, folded.histories, parameters, folded.changed))

    def _also_before(
        self,
        target: str,
        differing: Sequence[Mismatch],
        since: Checkpoint,
        events: Sequence[Event],
        parameters: Mapping[str, str],
        reached: int,
    ) -> list[Mismatch]:
        """Return the differences of a late target that exist as of its cursor `reached` too: projecting doesn't repair them."""
        if reached < since.sequence:
            return []
        before = folded_since(since, [event for event in events if event.sequence <= reached])
        lines = {each.difference.line for each in self._projection(target, before, parameters)}
        return [each for each in differing if each.difference.line in lines]

    def unknown_groups(self, groups: Sequence[str], parameters: Mapping[str, str]) -> list[Mismatch]:
        """List parameters of groups that are not in this ledger: another service under the prefix, or an intruder."""
        found = []
        for name in sorted(parameters):
            group = name.removeprefix(f"{self.prefix}/").partition("/")[0]
            if group not in groups and not self._describes_the_service(name):
                key = parsed(parameters[name]).get("key_id", "")
                own = key == self.key_id or key in self.former
                said = "a record signed by this service" if own else "something"
                if key and not own:
                    said = f"a record signed by {key}: do two services share the prefix {self.prefix}?"
                found.append(
                    Mismatch(difference=parameter_difference(name, "nothing, for the ledger has no such group", said))
                )
        return found

    def _describes_the_service(self, name: str) -> bool:
        return name == names.service_parameter(self.prefix) or name.startswith(names.environment_parameter(self.prefix))

    def _signatures(self, head: Head, events: Sequence[Event], since: Checkpoint) -> Iterator[Difference]:
        """Check each signature with the key of its time: after the present key's first signature, no former key is accepted."""
        present = False
        for event in events:
            message = head_bytes(event.group, event.sequence, event.hash)
            if event.signature and not self.holds(message, event.signature):
                if present or not self.held(message, event.signature, event.time):
                    yield signature_difference(f"{event.group} event {event.sequence}", "the signing key", "another's")
            elif event.signature:
                present = True
            if isinstance(event.payload, SigningKeyChanged):
                yield from self._key_change(event, event.payload)
        message = head_bytes(head.group, head.sequence, head.hash)
        at = events[-1].time if events else since.at or datetime.max.replace(tzinfo=UTC)
        if head.sequence and not self._held(message, head.signature, at):
            yield signature_difference(
                f"{head.group} head", "the signing key", "another's" if head.signature else "none"
            )

    def _held(self, message: bytes, signature: str, at: datetime) -> bool:
        return self.holds(message, signature) or self.held(message, signature, at)

    def _key_change(self, event: Event, change: SigningKeyChanged) -> Iterator[Difference]:
        """Check the signatures of a key rotation by the known keys; the former key's is missing if that key was lost."""
        text = key_change_bytes(event.group, event.previous_hash, change.before, change.after)
        where = f"{event.group} event {event.sequence}"
        for key, signature in {change.after: "", **change.signatures}.items():
            # The former key signs the rotation when it is no longer the current key, so its time is not checked.
            at = event.time if key == change.after else datetime.min.replace(tzinfo=UTC)
            known = key == self.key_id or key in self.former
            if known and not self._held(text, signature, at):
                yield signature_difference(where, key, "another's" if signature else "none")

    def _ahead(self, head: Head, parameters: Mapping[str, str]) -> Iterator[Difference]:
        """Yield a difference for each signed live record of an event that the ledger no longer has."""
        for name, value in sorted(parameters.items()):
            record = parsed(value)
            sequence = record.get("sequence")
            if isinstance(sequence, int) and sequence > head.sequence and self._ever_signed(record):
                yield Difference(
                    what="ledger",
                    where=f"{head.group} head",
                    expected=f"event {sequence} or later, which {name} was signed for",
                    found=f"event {head.sequence}: its tail was cut, or an older copy restored",
                )

    def _ever_signed(self, record: Mapping[str, object]) -> bool:
        """Return True if the present or a former key signed a record: it may be older than the last key rotation."""
        signature, message = record.get("signature"), signed_bytes(record)
        return isinstance(signature, str) and self._held(message, signature, datetime.min.replace(tzinfo=UTC))

    def _signed(self, record: Mapping[str, object]) -> bool:
        signature = record.get("signature")
        return isinstance(signature, str) and self.holds(signed_bytes(record), signature)

    def _states(self, view: GroupSnapshot) -> Iterator[Difference]:
        """Find stored states that differ from those folded from the events.

        A state of another fold version is not compared: `fold.read_state` ignores it, and the next append rewrites it.
        """
        environments, versions = self.ledger.stored_states(view.group)
        for number in sorted(view.versions.keys() | versions.keys()):
            where = f"{view.group} state of v{number}"
            yield from state_difference(where, view.versions.get(number), versions.get(number), VersionState)
        for name in sorted(view.environments.keys() | environments.keys()):
            where = f"{view.group} state of {name}"
            yield from state_difference(where, view.environments.get(name), environments.get(name), EnvironmentState)

    def _registry(self, view: GroupSnapshot, changed: Set[int]) -> Iterator[Mismatch]:
        live = {environment.live for environment in view.environments.values()}
        pending = {environment.pending for environment in view.environments.values()}
        for number, state in sorted(view.versions.items()):
            if number not in changed | live | pending:
                continue
            expected, found = self.packages.expected(state), self.packages.found(state)
            arn = state.package.arn
            if found is None:
                # Teams may delete old versions from the registry, but not a live one.
                if number in live:
                    said = Difference(
                        what="registry", where=arn, expected="the package, for it is live", found="nothing"
                    )
                    yield Mismatch(difference=said)
                continue
            for field, value in expected.items():
                if found.get(field) != value:
                    said = Difference(
                        what="registry", where=f"{arn} {field}", expected=value, found=found.get(field, "nothing")
                    )
                    yield Mismatch(difference=said, repair=partial(self.packages.repair, state))

    def _parameters(
        self, view: GroupSnapshot, histories: dict[int, History], parameters: Mapping[str, str], changed: Set[int]
    ) -> Iterator[Mismatch]:
        """Compare all parameters; `histories` are updated to their form in Parameter Store and the archive.

        Objects in S3 are read only for versions in `changed`.
        """
        known: set[str] = set()
        for name, environment in sorted(view.environments.items()):
            parameter = names.live_parameter(self.prefix, view.group, name)
            known.add(parameter)
            wanted = live_record(view, environment, self.key_id)
            value = parameters.get(parameter)
            if wanted is None:
                if value is not None:
                    said = parameter_difference(
                        parameter, "nothing, for nothing was ever live there", record_summary(parsed(value))
                    )
                    yield Mismatch(difference=said, repair=partial(self.store.remove, parameter))
                continue
            edited = live_difference(
                parameter, wanted, value, signed=self._signed, key_id=self.key_id, former=self.former
            )
            if edited is not None:
                yield Mismatch(difference=edited, repair=partial(self.store.put_live, view, name, anew=True))
        parameter = names.archive_parameter(self.prefix, view.group)
        known.add(parameter)
        archive = ArchiveCheck(self.prefix, view.group, parameters.get(parameter), self.archived)
        wrong = archive.difference or archive.unknown_versions(list(view.versions))
        if wrong is not None:
            yield Mismatch(difference=wrong, repair=partial(self.store.mend_archive, view))
        for number, state in sorted(view.versions.items()):
            base = names.version_parameter(self.prefix, view.group, number)
            pages = {n: v for n, v in parameters.items() if is_page(n, base)}
            known |= {base, *pages}
            difference = self._version(view, state, histories, parameters.get(base), pages, archive, changed)
            if difference is not None:
                yield Mismatch(difference=difference, repair=partial(self._rewrite, view, state))
        for parameter in sorted(parameters.keys() - known):
            said = parameter_difference(parameter, "nothing", "a value that nobody here wrote")
            yield Mismatch(difference=said, repair=partial(self.store.remove, parameter))

    def _version(
        self,
        view: GroupSnapshot,
        state: VersionState,
        histories: dict[int, History],
        value: str | None,
        pages: Mapping[str, str],
        archive: ArchiveCheck,
        changed: Set[int],
    ) -> Difference | None:
        number, base = state.version, names.version_parameter(self.prefix, view.group, state.version)
        past = archive.past(state, histories[number], read=number in changed)
        if isinstance(past, Difference):
            return past
        document = parsed(value or "")
        stored = stored_entries(base, document, pages) if value is not None or past is None else []
        newer = [] if isinstance(stored, Difference) else stored
        entries = joined(past.history if past is not None else (), newer)
        histories[number] = expected(histories[number], entries, view.group, number)
        objects = self.kept_runs if number in changed else None
        if value is None and number in in_use(view):
            # A live or pending version has its own parameter, even if it is archived.
            past = None
        return archive.marked(base, state, document) or version_difference(
            base, state, histories[number], value, pages, objects, past
        )

    def _rewrite(self, view: GroupSnapshot, state: VersionState) -> None:
        own = [event for event in self.ledger.events(state.group) if event.version == state.version]
        self.store.rewrite_version(view, state, own)


def _anchored(
    since: Checkpoint, head: Head, events: Sequence[Event], anchors: Sequence[Anchor]
) -> Iterator[Difference]:
    by_sequence = {since.sequence: since.hash} | {event.sequence: event.hash for event in events}
    for anchor in (each for each in anchors if each.sequence >= since.sequence):
        found = by_sequence.get(anchor.sequence)
        if found == anchor.hash:
            continue
        said = found[:12] if found else f"a ledger that ends at event {head.sequence}"
        wanted = f"the hash {anchor.hash[:12]}, as {anchor.name} has it"
        where = f"{since.group} event {anchor.sequence}"
        yield Difference(what="ledger", where=where, expected=wanted, found=said)


def _unreadable(group: str, part: str, error: Exception) -> Mismatch:
    said = str(error) if isinstance(error, PromotionError) else f"{type(error).__name__}: {error}"
    return Mismatch(difference=Difference(what="ledger", where=group, expected=f"{part} that can be read", found=said))


def _all_of(found: Sequence[Mismatch]) -> Callable[[], None]:
    def repair() -> None:
        for each in found:
            if each.repair is not None:
                each.repair()

    return repair
