"""A checkpoint: the folded state of a verification without differences, from which the next one continues.

Its digest is kept under Object Lock beside the anchors. A checkpoint that doesn't match the digest, or that another fold
version made, is ignored, and the group is verified from its first event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from promotion.domain.canonical_json import canonical
from promotion.domain.model import FOLD_VERSION, SCHEMA, EnvironmentState, Head, VersionState
from promotion.ledger.events import GENESIS, Event
from promotion.ledger.fold import evolve
from promotion.ledger.parameter_documents import entry
from promotion.ledger.snapshot import GroupSnapshot

# After this time a group is verified from its first event again.
WHOLE_EVERY = timedelta(days=30)

History = list[dict[str, object]]


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A group's verified states as of an event.

    `at` is the event's time, `whole_at` the time when the group was verified from its first event. `histories` are the entries
    of each version in Parameter Store, by version number.
    """

    schema: int = SCHEMA
    fold: int = FOLD_VERSION
    group: str
    sequence: int = 0
    hash: str = ""
    at: datetime | None = None
    whole_at: datetime | None = None
    environments: tuple[EnvironmentState, ...] = ()
    versions: tuple[VersionState, ...] = ()
    histories: dict[str, History] = {}

    @property
    def previous_hash(self) -> str:
        """The hash that the next event refers to as its previous hash."""
        return self.hash or GENESIS

    def view(self) -> GroupSnapshot:
        """The states as of the checkpoint, to fold further events into."""
        return GroupSnapshot(
            Head(group=self.group, sequence=self.sequence, hash=self.hash),
            environments={state.name: state for state in self.environments},
            versions={state.version: state for state in self.versions},
        )

    def history(self, version: int) -> History:
        """Entries of a version up to the checkpoint."""
        return self.histories.get(str(version), [])

    def is_due(self, now: datetime) -> bool:
        """Return True if everything is to be verified again."""
        return self.whole_at is None or not timedelta(0) <= now - self.whole_at < WHOLE_EVERY

    def text(self) -> bytes:
        """Encode the checkpoint for storage."""
        return canonical(self)


class Folded(Struct, frozen=True, kw_only=True):
    """States of a group's events; the versions that changed since a checkpoint, and the histories of all."""

    view: GroupSnapshot
    changed: set[int]
    histories: dict[int, History]


def folded_since(since: Checkpoint, events: Sequence[Event]) -> Folded:
    """Fold events into the states of a checkpoint."""
    view = since.view()
    for event in events:
        evolve(view, event)
    return Folded(
        view=view,
        changed=view.changed_versions if since.sequence else set(view.versions),
        histories={
            number: since.history(number) + [entry(event) for event in events if event.version == number]
            for number in view.versions
        },
    )


def digest_of(text: bytes) -> str:
    """SHA-256, hex, of a stored checkpoint."""
    return hashlib.sha256(text).hexdigest()


def read_checkpoint(text: bytes, group: str) -> Checkpoint | None:
    """Decode a stored checkpoint; None if this release can't continue from it."""
    try:
        found = msgspec.json.decode(text, type=Checkpoint)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return found if found.group == group and found.fold == FOLD_VERSION and found.sequence else None


def after(
    since: Checkpoint, head: Head, events: Sequence[Event], view: GroupSnapshot, histories: Mapping[int, History]
) -> Checkpoint:
    """Return the checkpoint of a group whose `events` after `since` were verified."""
    return Checkpoint(
        group=since.group,
        sequence=head.sequence,
        hash=head.hash,
        at=events[-1].time if events else since.at,
        whole_at=since.whole_at,
        environments=tuple(state for _, state in sorted(view.environments.items())),
        versions=tuple(state for _, state in sorted(view.versions.items())),
        histories={str(version): entries for version, entries in sorted(histories.items())},
    )
