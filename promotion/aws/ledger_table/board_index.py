"""Read the index `board` of the ledger's table: environment states by group and name, and the active groups.

Its partition `BOARD` has the states under `{group}#{environment}`; `#` sorts before every letter, digit and hyphen, so that
their order is that of the groups' names. `OPEN` has the heads of groups with an open request or a live version with a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from promotion import names
from promotion.aws.ledger_table.ledger_items import BOARD, OPEN, environment_key, group_of, item_key, state_of
from promotion.domain.model import EnvironmentState
from promotion.errors import UNREADABLE
from promotion.ledger.board_page import BoardPage
from promotion.ledger.snapshot import GroupSnapshot

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.paginator import QueryPaginator

    from promotion.aws.ledger_table.ledger_items import Item

# The character after `#`: a group's name followed by it sorts after all keys of the group and before those of the next
# one.
AFTER_KEYS = "$"
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
MOST_KEYS = 100


class BoardIndex:
    """States for lists of groups. They may be milliseconds old, and written by another release's event fold."""

    def __init__(self, client: DynamoDBClient, table: str, refolded: Callable[[str], GroupSnapshot]) -> None:
        """Make a reader of the index of `table`; `refolded` folds a group's states from its events."""
        self._client = client
        self._table = table
        self._refolded = refolded

    @cached_property
    def _pages(self) -> QueryPaginator:
        return self._client.get_paginator("query")

    def environments(self, unreadable: list[str] | None = None) -> Iterator[EnvironmentState]:
        """Yield environment states of all groups; names of groups that can't be read are added to `unreadable`."""
        yield from self._states(self._query("board_pk = :pk", {":pk": BOARD}), unreadable)

    def page(
        self,
        *,
        groups: int,
        environments: int,
        after: str = "",
        before: str = "",
        unreadable: list[str] | None = None,
    ) -> BoardPage:
        """Read a page in order of names: the first one, or the one after or before a group.

        Args:
            groups: The most groups of a page.
            environments: The expected number of states in a group, for the size of the reads.
            after: The group before the page.
            before: The group after the page; not with `after`.
            unreadable: The names of groups whose states can't be read are added to it.

        Returns:
            The page; the first one if there is no group on that side.
        """
        condition, values = "board_pk = :pk", {":pk": BOARD}
        if after:
            condition, values = f"{condition} AND board_sk > :sk", {**values, ":sk": f"{after}{AFTER_KEYS}"}
        elif before:
            condition, values = f"{condition} AND board_sk < :sk", {**values, ":sk": f"{before}#"}
        found: dict[str, list[Item]] = {}
        more = False
        backward = bool(before and not after)
        for item in self._query(condition, values, backward=backward, size=groups * environments + 1):
            group = group_of(item["pk"]["S"])
            if group not in found and len(found) == groups:
                more = True
                break
            found.setdefault(group, []).append(item)
        if not found and (after or before):
            return self.page(groups=groups, environments=environments, unreadable=unreadable)
        in_order = sorted(found)
        return BoardPage(
            states=tuple(self._states((item for group in in_order for item in found[group]), unreadable)),
            first=in_order[0] if in_order else "",
            last=in_order[-1] if in_order else "",
            earlier=more if backward else bool(after),
            later=backward or more,
        )

    def active_groups(self) -> list[str]:
        """Names of the groups with an open request or a live version with a problem."""
        return [item["board_sk"]["S"] for item in self._query("board_pk = :pk", {":pk": OPEN})]

    def active(
        self, environments: Sequence[str], *, also: Iterable[str] = (), unreadable: list[str] | None = None
    ) -> list[EnvironmentState]:
        """States of all active groups, and of the groups `also`, in the named environments.

        The number of reads grows with these groups, not with all groups.
        """
        groups = dict.fromkeys([*self.active_groups(), *also])
        keys = [item_key(group, environment_key(name)) for group in groups for name in environments]
        found: list[Item] = []
        for start in range(0, len(keys), MOST_KEYS):
            wanted: dict[str, Any] = {self._table: {"Keys": keys[start : start + MOST_KEYS], "ConsistentRead": True}}
            # A throttled call returns some keys unprocessed, or raises if it could read none.
            while wanted:
                answer = self._client.batch_get_item(RequestItems=wanted)
                found += answer["Responses"].get(self._table, [])
                wanted = dict(answer.get("UnprocessedKeys", {}))
        return list(self._states(found, unreadable))

    def _query(
        self, condition: str, values: dict[str, str], *, backward: bool = False, size: int = 0
    ) -> Iterator[Item]:
        pages = self._pages.paginate(
            TableName=self._table,
            IndexName=names.BOARD_INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
            ScanIndexForward=not backward,
            PaginationConfig={"PageSize": size} if size else {},
        )
        for page in pages:
            yield from page["Items"]

    def _states(self, items: Iterable[Item], unreadable: list[str] | None) -> Iterator[EnvironmentState]:
        found = (self._state(item, unreadable) for item in items)
        yield from (state for state in found if state is not None)

    def _state(self, item: Item, unreadable: list[str] | None) -> EnvironmentState | None:
        """Return a state as it is stored, even if another release folded it; fold it again if it can't be read."""
        try:
            return state_of(item, EnvironmentState)
        except UNREADABLE:
            pass
        group, name = group_of(item["pk"]["S"]), item["sk"]["S"].removeprefix("ENV#")
        try:
            return self._refolded(group).environment(name)
        except UNREADABLE:
            # Only this group's row is missing; the board still shows all others.
            if unreadable is not None:
                unreadable.append(group)
            return None
