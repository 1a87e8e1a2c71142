"""The ledger in DynamoDB: events, the head, and the folded states of versions and environments, per model package group.

One partition a group. Keys: `HEAD`, `EVENT#{sequence}`, `VERSION#{version}`, `ENV#{environment}`. Environment items are also
in the index `board`, so that a page of the board is one query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import msgspec
from botocore.exceptions import ClientError

from promotion import names
from promotion.aws import Client
from promotion.domain.model import EnvironmentState, Head, VersionState, canonical
from promotion.errors import Conflict
from promotion.ledger.events import Event, head_after
from promotion.ledger.snapshot import GroupSnapshot

State = TypeVar("State")

BOARD = "BOARD"
HEAD = "HEAD"
# TransactWriteItems takes 100 actions: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
MOST_ACTIONS = 100


class DynamoLedger:
    """Reads and appends."""

    def __init__(self, client: Client, table: str) -> None:
        self._client = client
        self._table = table

    @cached_property
    def _pages(self) -> Any:
        # Making one takes half a millisecond, and a projection asks a dozen times.
        return self._client.get_paginator("query")

    def view(self, group: str) -> GroupSnapshot:
        """The states of a group as of its head, also of environments that have left the configuration.

        The head is read first: what changes after it makes the append fail rather than be wrong.
        """
        head = self.head(group)
        found = [_read(item, EnvironmentState) for item in self._query(group, "ENV#")] if head.sequence else []
        environments = {state.name: state for state in found}
        return GroupSnapshot(head, environments=environments, load=lambda number: self.version(group, number))

    def version(self, group: str, number: int) -> VersionState | None:
        """The folded state of one version, or None where it was never registered."""
        item = self._get(group, _version_key(number))
        return _read(item, VersionState) if item else None

    def versions(self, group: str) -> list[VersionState]:
        """All versions of a group, newest first."""
        return [_read(item, VersionState) for item in self._query(group, "VERSION#", newest_first=True)]

    def head(self, group: str) -> Head:
        """Where the group's chain ends, consistently read."""
        item = self._get(group, HEAD)
        return _read(item, Head) if item else Head(group=group)

    def append(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        """Append `events` and what they changed, in one transaction conditional on the head.

        A condition that fails because the stored event is our own has succeeded: the answer to an earlier try was lost.

        Raises:
            Conflict: somebody appended first; nothing was written.
        """
        after = head_after(view.head, events)
        actions: list[Any] = [{"Put": self._head_put(view.head, after)}]
        once = "attribute_not_exists(pk)"
        actions += [{"Put": {"Item": _event_item(event), "ConditionExpression": once}} for event in events]
        actions += [
            {"Put": {"Item": _item(view.group, _version_key(number), view.version(number))}}
            for number in sorted(view.changed_versions)
        ]
        actions += [
            {"Put": {"Item": _environment_item(view.environment(name))}} for name in sorted(view.changed_environments)
        ]
        for action in actions:
            action["Put"]["TableName"] = self._table
        if len(actions) > MOST_ACTIONS:
            raise ValueError(f"{len(actions)} writes don't fit in one transaction.")
        try:
            # The token makes a retry inside the client, after a lost answer, succeed rather than fail its condition.
            self._client.transact_write_items(TransactItems=actions, ClientRequestToken=after.event_id)
        except ClientError as error:
            if not _lost_race(error):
                raise
            if not self._is_stored(events[-1]):
                raise Conflict(f"{view.group}: somebody appended after event {view.head.sequence}.") from error

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        """Events of a group in order, consistently read, a page at a time."""
        for item in self._query(group, "EVENT#", after=f"EVENT#{after:010d}"):
            yield _read(item, Event)

    def board(self, *, start: dict[str, Any] | None = None, limit: int = 400) -> tuple[list[EnvironmentState], Any]:
        """One page of environment states over all groups, by group and name, and where the next page starts."""
        extra: dict[str, Any] = {"ExclusiveStartKey": start} if start else {}
        answer = self._client.query(
            TableName=self._table,
            IndexName=names.BOARD_INDEX,
            KeyConditionExpression="board_pk = :board",
            ExpressionAttributeValues={":board": {"S": BOARD}},
            Limit=limit,
            **extra,
        )
        return [_read(item, EnvironmentState) for item in answer["Items"]], answer.get("LastEvaluatedKey")

    def environments(self) -> Iterator[EnvironmentState]:
        """Environment states of all groups."""
        start: Any = None
        while True:
            found, start = self.board(start=start)
            yield from found
            if not start:
                return

    def groups(self) -> list[str]:
        """Names of all groups that have events."""
        return list(dict.fromkeys(state.group for state in self.environments()))

    def _head_put(self, before: Head, after: Head) -> dict[str, Any]:
        put: dict[str, Any] = {"Item": _item(after.group, HEAD, after)}
        put["Item"]["sequence"] = {"N": str(after.sequence)}
        put["Item"]["hash"] = {"S": after.hash}
        if before.sequence == 0:
            put["ConditionExpression"] = "attribute_not_exists(pk)"
        else:
            put["ConditionExpression"] = "#sequence = :sequence AND #hash = :hash"
            put["ExpressionAttributeNames"] = {"#sequence": "sequence", "#hash": "hash"}
            put["ExpressionAttributeValues"] = {
                ":sequence": {"N": str(before.sequence)},
                ":hash": {"S": before.hash},
            }
        return put

    def _is_stored(self, event: Event) -> bool:
        item = self._get(event.group, _event_key(event.sequence))
        # The time may differ: the step may have been done again later, with nothing else changed.
        return item is not None and _read(item, Event).event_id == event.event_id

    def _get(self, group: str, key: str) -> dict[str, Any] | None:
        answer = self._client.get_item(TableName=self._table, Key=_key(group, key), ConsistentRead=True)
        item: dict[str, Any] | None = answer.get("Item")
        return item

    def _query(
        self, group: str, prefix: str, *, after: str = "", newest_first: bool = False
    ) -> Iterable[dict[str, Any]]:
        values: dict[str, Any] = {":pk": {"S": _partition(group)}}
        if after:
            condition = "pk = :pk AND sk BETWEEN :after AND :last"
            # Sorts after every key with this prefix.
            values |= {":after": {"S": after + "\x00"}, ":last": {"S": prefix + "\x7f"}}
        else:
            condition = "pk = :pk AND begins_with(sk, :prefix)"
            values[":prefix"] = {"S": prefix}
        pages = self._pages.paginate(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            # Not what stands beside it for the console: a long history is shorter on its way.
            ProjectionExpression="#state",
            ExpressionAttributeNames={"#state": "state"},
            ConsistentRead=True,
            ScanIndexForward=not newest_first,
        )
        for page in pages:
            yield from page["Items"]


def _lost_race(error: ClientError) -> bool:
    """Whether somebody else wrote first, or is at it; a transaction cancelled by throttling is neither."""
    code = error.response["Error"]["Code"]
    if code == "TransactionCanceledException":
        reasons = {str(reason.get("Code")) for reason in error.response.get("CancellationReasons") or ()}
        return not reasons or bool(reasons & {"ConditionalCheckFailed", "TransactionConflict"})
    # In progress: a try before this one, whose answer never came, is not done yet. Mismatch: it was of an older view.
    return code in (
        "TransactionConflictException", "TransactionInProgressException", "IdempotentParameterMismatchException",
    )  # fmt: skip


def group_of(key: str) -> str:
    """The group in a partition key."""
    return key.removeprefix("GROUP#")


def _partition(group: str) -> str:
    return f"GROUP#{group}"


def _event_key(sequence: int) -> str:
    return f"EVENT#{sequence:010d}"


def _version_key(number: int) -> str:
    return f"VERSION#{number:010d}"


def _key(group: str, key: str) -> dict[str, Any]:
    return {"pk": {"S": _partition(group)}, "sk": {"S": key}}


def _item(group: str, key: str, state: Any) -> dict[str, Any]:
    return {**_key(group, key), "state": {"S": canonical(state).decode()}}


def _environment_item(state: EnvironmentState) -> dict[str, Any]:
    item = _item(state.group, f"ENV#{state.name}", state)
    return {**item, "board_pk": {"S": BOARD}, "board_sk": {"S": f"{state.group}#{state.name}"}}


def _event_item(event: Event) -> dict[str, Any]:
    item = _item(event.group, _event_key(event.sequence), event)
    # Beside the whole event, what people look for in the console.
    item |= {
        "kind": {"S": event.kind},
        "time": {"S": event.time.isoformat()},
        "actor": {"S": event.actor.subject},
        "event_id": {"S": event.event_id},
    }
    return item


def _read(item: dict[str, Any], kind: type[State]) -> State:
    return msgspec.json.decode(item["state"]["S"], type=kind)
