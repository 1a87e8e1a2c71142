"""The format of the ledger's items in DynamoDB: keys, attributes and parsing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from promotion.domain.canonical_json import canonical
from promotion.domain.model import EnvironmentState
from promotion.ledger.events import Event, StoredEvent, read_event

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item: TypeAlias = dict[str, AttributeValueTypeDef]

State = TypeVar("State")

# Partitions of the index `board`: states of environments, and heads of active groups.
BOARD = "BOARD"
OPEN = "OPEN"


def group_of(key: str) -> str:
    """Return the group in a partition key."""
    return key.removeprefix("GROUP#")


def partition(group: str) -> str:
    """Return the partition key of a group."""
    return f"GROUP#{group}"


def event_key(sequence: int) -> str:
    """Return the sort key of an event; keys sort as sequences do."""
    return f"EVENT#{sequence:010d}"


def version_key(number: int) -> str:
    """Return the sort key of a version."""
    return f"VERSION#{number:010d}"


def environment_key(name: str) -> str:
    """Return the sort key of an environment."""
    return f"ENV#{name}"


def item_key(group: str, key: str) -> Item:
    """Return the primary key of an item."""
    return {"pk": {"S": partition(group)}, "sk": {"S": key}}


def state_item(group: str, key: str, state: object) -> Item:
    """Return the item of a folded state or a head, in canonical JSON."""
    return {**item_key(group, key), "state": {"S": canonical(state).decode()}}


def environment_item(state: EnvironmentState) -> Item:
    """Return the item of an environment, which is in the board's index too."""
    item = state_item(state.group, environment_key(state.name), state)
    return {**item, "board_pk": {"S": BOARD}, "board_sk": {"S": f"{state.group}#{state.name}"}}


def active_key(group: str) -> Item:
    """Return the attributes that put a group's head into the index of active groups."""
    return {"board_pk": {"S": OPEN}, "board_sk": {"S": group}}


def event_item(event: Event) -> Item:
    """Return the item of an event, with the text that is hashed."""
    item: Item = {
        **item_key(event.group, event_key(event.sequence)),
        "state": {"S": event.text},
        "hash": {"S": event.hash},
    }
    if event.signature:
        item |= {"signature": {"S": event.signature}, "key_id": {"S": event.key_id}}
    # Attributes that people search for in the console, in addition to the whole event.
    item |= {
        "kind": {"S": event.kind},
        "time": {"S": event.time.isoformat()},
        "actor": {"S": event.actor.subject},
        "event_id": {"S": event.event_id},
    }
    return item


def event_of(item: Item) -> Event:
    """Read the event of an item."""
    signature = item["signature"]["S"] if "signature" in item else ""
    key_id = item["key_id"]["S"] if "key_id" in item else ""
    return read_event(StoredEvent(text=item["state"]["S"], hash=item["hash"]["S"], signature=signature, key_id=key_id))


def state_of(item: Item, kind: type[State]) -> State:
    """Read the state of an item."""
    return msgspec.json.decode(item["state"]["S"], type=kind)
