"""Repeated runs of a version in an environment, as one entry of its history in Parameter Store. Pure.

The ledger keeps every event. Only the projection is shortened: a version with daily runs for years would fill Parameter Store.
The newest KEPT_RUNS of an environment stay separate entries; older ones are counted in one entry, which names the S3 object
with their events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.domain.model import SCHEMA
from promotion.ledger.events import Event, StoredEvent

KEPT_RUNS = 20
# The field of an entry for several runs.
FIELD = "runs"


class FoldedRuns(Struct, frozen=True, kw_only=True):
    """The runs of one entry.

    `first` and `last` are sequence numbers. `digest` is a running SHA-256, hex: for each run, over the previous digest (at
    first empty) and the run's hash, both as hex. `object` is the key, in the evidence bucket, of the object with the newest of
    these events.
    """

    count: int
    first: int
    last: int
    digest: str
    object: str


class RunsObject(Struct, frozen=True, kw_only=True):
    """The object in S3: the events that were folded together, and a reference to the runs that were folded before."""

    schema: int = SCHEMA
    model_package_group: str
    model_package_version: int
    environment: str
    previous: FoldedRuns | None = None
    runs: FoldedRuns
    events: tuple[StoredEvent, ...] = ()

    def holds(self) -> bool:
        """Return True if the events, after those folded before, have the digest and the number of `runs`."""
        digest, count = (self.previous.digest, self.previous.count) if self.previous is not None else ("", 0)
        for event in self.events:
            digest = _further(digest, hashlib.sha256(event.text.encode()).hexdigest())
        return bool(self.events) and (digest, count + len(self.events)) == (self.runs.digest, self.runs.count)


class Fold(Struct, frozen=True, kw_only=True):
    """Runs of an environment to fold now: their sequence numbers, those folded `before`, and all of them `after`."""

    environment: str
    sequences: tuple[int, ...]
    before: FoldedRuns | None
    after: FoldedRuns

    def document(self, group: str, version: int, events: Iterable[Event]) -> RunsObject:
        """Return the object for S3, from the group's `events` between the first and the last to be folded."""
        wanted = set(self.sequences)
        return RunsObject(
            model_package_group=group,
            model_package_version=version,
            environment=self.environment,
            previous=self.before,
            runs=self.after,
            events=tuple(event.stored() for event in events if event.sequence in wanted),
        )


def fold_runs(
    entries: Sequence[dict[str, object]], group: str, version: int
) -> tuple[list[dict[str, object]], list[Fold]]:
    """Fold the runs beyond the newest KEPT_RUNS of each environment.

    Args:
        entries: The history of a version, in order; some of its runs may be folded already.
        group: The version's group.
        version: The version's number.

    Returns:
        The history with the folded entries, each in the place of its last run, and the folds.
    """
    runs: dict[str, list[dict[str, object]]] = {}
    earlier: dict[str, dict[str, object]] = {}
    for entry in entries:
        environment = str(entry.get("environment"))
        if FIELD in entry:
            earlier[environment] = entry
        elif entry["kind"] == names.INFERENCE_COMPLETED:
            runs.setdefault(environment, []).append(entry)
    gone: set[int] = set()
    folded: list[dict[str, object]] = []
    folds: list[Fold] = []
    for environment, found in runs.items():
        surplus = found[:-KEPT_RUNS]
        if not surplus:
            continue
        before = msgspec.convert(earlier[environment][FIELD], FoldedRuns) if environment in earlier else None
        after = _added(before, surplus, group, version, environment)
        folds.append(
            Fold(
                environment=environment,
                sequences=tuple(map(sequence_of, surplus)),
                before=before,
                after=after,
            )
        )
        folded.append(folded_entry(surplus[-1], after))
        gone |= set(map(sequence_of, surplus))
        gone |= {before.last} if before else set()
    left = [entry for entry in entries if sequence_of(entry) not in gone]
    return sorted([*left, *folded], key=sequence_of), folds


def sequence_of(entry: Mapping[str, object]) -> int:
    """Sequence number of an entry; of a folded one, that of its last run."""
    found = entry["sequence"]
    return found if isinstance(found, int) else 0


def folded_entry(last: Mapping[str, object], runs: FoldedRuns) -> dict[str, object]:
    """Return the entry for `runs`, made from the entry of the last of them."""
    kept = {name: last[name] for name in ("sequence", "time", "environment", "kind", "hash")}
    return {**kept, FIELD: msgspec.to_builtins(runs)}


def expected(
    wanted: Sequence[dict[str, object]], found: Iterable[object], group: str, version: int
) -> list[dict[str, object]]:
    """Return the expected history in Parameter Store, folded as far as the entries `found` there are.

    Args:
        wanted: An entry for each event of the version, in order; some of its runs may be folded already.
        found: The entries in Parameter Store; only the extent of their folding is used.
        group: The version's group.
        version: The version's number.
    """
    until = {
        str(entry.get("environment")): entry.get("sequence")
        for entry in found
        if isinstance(entry, dict) and FIELD in entry
    }
    runs: dict[str, list[dict[str, object]]] = {}
    before: dict[str, dict[str, object]] = {}
    left: list[dict[str, object]] = []
    for entry in wanted:
        name = str(entry.get("environment"))
        end = until.get(name)
        if FIELD in entry:
            before[name] = entry
        elif entry["kind"] == names.INFERENCE_COMPLETED and isinstance(end, int) and sequence_of(entry) <= end:
            runs.setdefault(name, []).append(entry)
        else:
            left.append(entry)
    for environment, gone in runs.items():
        earlier = before.pop(environment, None)
        folded = msgspec.convert(earlier[FIELD], FoldedRuns) if earlier is not None else None
        left.append(folded_entry(gone[-1], _added(folded, gone, group, version, environment)))
    return sorted([*left, *before.values()], key=sequence_of)


def counted_events(entries: Iterable[Mapping[str, object]]) -> int:
    """Return the number of events behind entries."""
    return sum(msgspec.convert(entry[FIELD], FoldedRuns).count if FIELD in entry else 1 for entry in entries)


def _further(digest: str, hash_: str) -> str:
    return hashlib.sha256(f"{digest}{hash_}".encode()).hexdigest()


def _added(
    before: FoldedRuns | None, runs: Sequence[Mapping[str, object]], group: str, version: int, environment: str
) -> FoldedRuns:
    last = sequence_of(runs[-1])
    # As for attestations: no folder has an environment's name, because that environment's state machine may write there.
    place = f"{names.FOLDED_RUNS}/{group}.v{version}/{last:010d}-{environment}.json"
    known = before or FoldedRuns(count=0, first=sequence_of(runs[0]), last=0, digest="", object="")
    digest = known.digest
    for entry in runs:
        digest = _further(digest, str(entry["hash"]))
    return replace(known, count=known.count + len(runs), last=last, digest=digest, object=place)
