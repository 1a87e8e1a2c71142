"""The ledger in DynamoDB: events, the head, and the folded states of versions and environments, per model package group.

Each group has one partition. An event's item has the hashed text in `state`, and `hash` and `signature` beside it. A
state that another release folded, or that can't be read, is folded again from the events.

Sort keys: `HEAD`, `EVENT#{sequence}`, `VERSION#{version}`, `ENV#{environment}`. Environment items are also in the index
`board`, and so is the head of a group that has an open request or a live version with a problem
(promotion/aws/ledger_table/board_index.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from promotion.aws.ledger_table.board_index import BoardIndex
from promotion.aws.ledger_table.heads import beside, differences_beside
from promotion.aws.ledger_table.ledger_items import (
    active_key,
    environment_item,
    event_item,
    event_key,
    event_of,
    item_key,
    partition,
    state_item,
    state_of,
    version_key,
)
from promotion.domain.canonical_json import canonical
from promotion.domain.model import EnvironmentState, Head, VersionState
from promotion.errors import UNREADABLE, Conflict
from promotion.ledger.checked import StoredHead
from promotion.ledger.events import Event, head_after
from promotion.ledger.fold import read_state, refolded
from promotion.ledger.snapshot import GroupSnapshot

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.paginator import QueryPaginator
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

    from promotion.aws.ledger_table.ledger_items import Item

HEAD = "HEAD"
# TransactWriteItems takes 100 actions: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
MOST_ACTIONS = 100


class DynamoLedger:
    """Read the ledger and append events."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    @cached_property
    def _pages(self) -> QueryPaginator:
        # Made once, because it takes half a millisecond and a projection uses it a dozen times.
        return self._client.get_paginator("query")

    def view(self, group: str) -> GroupSnapshot:
        """Return the states of a group as of its head, also of environments that were removed from the configuration.

        The head is read first, so that an append fails if another process changes the states after this read.
        """
        head = self.head(group)
        items = list(self._query(group, "ENV#")) if head.sequence else []
        found = [read_state(item["state"]["S"], EnvironmentState) for item in items]
        environments = {state.name: state for state in found if state is not None}
        if len(environments) < len(found):
            # All of them, so that the next append writes every state as this release folds it.
            return refolded(head, self.events(group))
        return GroupSnapshot(head, environments=environments, load=lambda number: self.version(group, number))

    def version(self, group: str, number: int) -> VersionState | None:
        """Return the folded state of one version; None if it was never registered."""
        item = self._get(group, version_key(number))
        if item is None:
            return None
        found = read_state(item["state"]["S"], VersionState)
        return found if found is not None else self._refolded(group).find_version(number)

    def versions(self, group: str) -> list[VersionState]:
        """Return all versions of a group, newest first."""
        items = self._query(group, "VERSION#", newest_first=True)
        found = [read_state(item["state"]["S"], VersionState) for item in items]
        known = [state for state in found if state is not None]
        if len(known) < len(found):
            folded = self._refolded(group).versions
            known = [folded[number] for number in sorted(folded, reverse=True)]
        return known

    def stored_states(self, group: str) -> tuple[dict[str, str], dict[int, str]]:
        """Return the stored states of environments and versions as text, unparsed."""
        environments = {item["sk"]["S"].removeprefix("ENV#"): item["state"]["S"] for item in self._query(group, "ENV#")}
        versions = {
            int(item["sk"]["S"].removeprefix("VERSION#")): item["state"]["S"] for item in self._query(group, "VERSION#")
        }
        return environments, versions

    def refold(self, group: str) -> int:
        """Fold a group's states again from its events and write those that differ; return the number of items written.

        The head is added to the index of active groups, or removed from it, according to the states. Each item is
        written on condition that the head has not changed.

        Raises:
            Conflict: another process appended at the same time; the remaining states are unchanged.
        """
        stored = self.stored_head(group)
        head = stored.head
        folded = refolded(head, self.events(group))
        environments, versions = self.stored_states(group)
        items = [
            environment_item(state)
            for name, state in sorted(folded.environments.items())
            if environments.get(name) != canonical(state).decode()
        ]
        items += [
            state_item(group, version_key(number), state)
            for number, state in sorted(folded.versions.items())
            if versions.get(number) != canonical(state).decode()
        ]
        moves = stored.active is not None and stored.active != folded.is_active
        for start in range(0, len(items) or moves, MOST_ACTIONS - 1):
            puts: list[TransactWriteItemTypeDef] = [
                {"Put": {"TableName": self._table, "Item": each}} for each in items[start : start + MOST_ACTIONS - 1]
            ]
            try:
                self._client.transact_write_items(
                    TransactItems=[self._unmoved(head, is_active=folded.is_active), *puts]
                )
            except ClientError as error:
                if not _lost_race(error):
                    raise
                raise Conflict(f"{group}: somebody appended after event {head.sequence}.") from error
        return len(items) + moves

    def _unmoved(self, head: Head, *, is_active: bool) -> TransactWriteItemTypeDef:
        """Return the write of a head's key in the index, on condition that the head has not changed."""
        key = {f":{name}": value for name, value in active_key(head.group).items()} if is_active else {}
        return {
            "Update": {
                "TableName": self._table,
                "Key": item_key(head.group, HEAD),
                "UpdateExpression": "SET board_pk = :board_pk, board_sk = :board_sk"
                if is_active
                else "REMOVE board_pk, board_sk",
                "ConditionExpression": "#hash = :hash",
                "ExpressionAttributeNames": {"#hash": "hash"},
                "ExpressionAttributeValues": {":hash": {"S": head.hash}, **key},
            }
        }

    def _refolded(self, group: str) -> GroupSnapshot:
        return refolded(self.head(group), self.events(group))

    def head(self, group: str) -> Head:
        """Return the group's head, by a consistent read."""
        return self.stored_head(group).head

    def stored_head(self, group: str) -> StoredHead:
        """Return the head, and the attributes of its item, read by the next append's condition, that differ from it."""
        item = self._get(group, HEAD)
        if item is None:
            return StoredHead(Head(group=group))
        head = state_of(item, Head)
        return StoredHead(head, differences_beside(head, item), active="board_pk" in item)

    def append(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        """Append `events` and the states that they changed, in one transaction conditional on the head.

        If the condition fails because this same event is stored, the append has succeeded: an earlier try's answer was
        lost.

        Raises:
            Conflict: another process appended first; nothing was written.
        """
        after = head_after(view.head, events)
        actions: list[Any] = [{"Put": self._head_put(view.head, after, is_active=view.is_active)}]
        once = "attribute_not_exists(pk)"
        actions += [{"Put": {"Item": event_item(event), "ConditionExpression": once}} for event in events]
        actions += [
            {"Put": {"Item": state_item(view.group, version_key(number), view.version(number))}}
            for number in sorted(view.changed_versions)
        ]
        actions += [
            {"Put": {"Item": environment_item(view.environment(name))}} for name in sorted(view.changed_environments)
        ]
        for action in actions:
            action["Put"]["TableName"] = self._table
        if len(actions) > MOST_ACTIONS:
            raise ValueError(f"{len(actions)} writes don't fit in one transaction.")
        try:
            # The token makes the call idempotent: when boto3 retries after a lost answer, the retry succeeds.
            self._client.transact_write_items(TransactItems=actions, ClientRequestToken=after.event_id)
        except ClientError as error:
            if not _lost_race(error):
                raise
            if not self._is_stored(events[-1]):
                raise Conflict(f"{view.group}: somebody appended after event {view.head.sequence}.") from error

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        """Yield events of a group in order, by consistent reads, page by page."""
        for item in self._query(group, "EVENT#", after=f"EVENT#{after:010d}"):
            yield event_of(item)

    def event(self, group: str, sequence: int) -> Event | None:
        """Return one event of a group; None if there is none."""
        item = self._get(group, event_key(sequence))
        return event_of(item) if item is not None else None

    def newest_events(self, group: str, *, most: int, before: int = 0) -> list[Event]:
        """Return the newest `most` events of a group, newest first; with `before`, those before that number."""
        pages = self._pages.paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": partition(group)},
                ":first": {"S": event_key(0)},
                ":last": {"S": event_key(before - 1) if before else "EVENT#\x7f"},
            },
            ConsistentRead=True,
            ScanIndexForward=False,
            PaginationConfig={"MaxItems": most, "PageSize": most},
        )
        return [event_of(item) for page in pages for item in page["Items"]]

    @cached_property
    def board(self) -> BoardIndex:
        """Lists of all groups, and of the active ones."""
        return BoardIndex(self._client, self._table, self._refolded)

    def environments(self, unreadable: list[str] | None = None) -> Iterator[EnvironmentState]:
        """Yield environment states of all groups; names of groups that can't be read are added to `unreadable`."""
        return self.board.environments(unreadable)

    def open_environments(self, unreadable: list[str] | None = None) -> Iterator[EnvironmentState]:
        """Yield environment states with an open request; names of groups that can't be read are added to `unreadable`.

        The number of reads grows with the active groups, not with all groups. Environments that were removed from the
        configuration are included.
        """
        for group in self.board.active_groups():
            try:
                found = list(self.view(group).environments.values())
            except UNREADABLE:
                if unreadable is not None:
                    unreadable.append(group)
                continue
            yield from (state for state in found if state.pending is not None)

    def groups(self) -> list[str]:
        """Return the names of all groups that have events."""
        unreadable: list[str] = []
        found = [state.group for state in self.environments(unreadable)]
        return list(dict.fromkeys([*found, *unreadable]))

    def _head_put(self, before: Head, after: Head, *, is_active: bool) -> dict[str, Any]:
        put: dict[str, Any] = {"Item": state_item(after.group, HEAD, after)}
        put["Item"] |= beside(after)
        if is_active:
            put["Item"] |= active_key(after.group)
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
        item = self._get(event.group, event_key(event.sequence))
        # Compared by id, because the time differs if the same step was done again later.
        return item is not None and event_of(item).event_id == event.event_id

    def _get(self, group: str, key: str) -> Item | None:
        answer = self._client.get_item(TableName=self._table, Key=item_key(group, key), ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def _query(self, group: str, prefix: str, *, after: str = "", newest_first: bool = False) -> Iterable[Item]:
        values: Item = {":pk": {"S": partition(group)}}
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
            # Without the attributes for the console, so that a long history needs fewer pages.
            ProjectionExpression="sk, #state, #hash, #signature, key_id",
            ExpressionAttributeNames={"#state": "state", "#hash": "hash", "#signature": "signature"},
            ConsistentRead=True,
            ScanIndexForward=not newest_first,
        )
        for page in pages:
            yield from page["Items"]


def _lost_race(error: ClientError) -> bool:
    """Return True if another writer committed first or is in progress; False if throttled."""
    code = error.response["Error"]["Code"]
    if code == "TransactionCanceledException":
        reasons = {str(reason.get("Code")) for reason in error.response.get("CancellationReasons") or ()}
        return not reasons or bool(reasons & {"ConditionalCheckFailed", "TransactionConflict"})
    # In progress: an earlier try, whose answer was lost, has not finished. Mismatch: the earlier try had an older
    # snapshot.
    return code in (
        "TransactionConflictException", "TransactionInProgressException", "IdempotentParameterMismatchException",
    )  # fmt: skip
