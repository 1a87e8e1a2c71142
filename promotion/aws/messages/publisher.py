"""The event bus: publishes ledger events for other systems. Their shapes are in docs/events/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from promotion import names
from promotion.aws.messages.published_events import detail_of
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
MOST_ENTRIES = 10


class EventsTarget:
    """Put each published event on the bus after it is in the ledger. It may be put twice, with the same `event_id`."""

    one_by_one = False

    def __init__(self, client: EventBridgeClient, bus: str) -> None:
        self._client = client
        self._bus = bus

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        entries: list[PutEventsRequestEntryTypeDef] = [
            {
                "Source": names.EVENT_SOURCE,
                "DetailType": event.kind,
                "Detail": json.dumps(found, ensure_ascii=False),
                "EventBusName": self._bus,
                "Time": event.time,
            }
            for event in events
            if (found := detail(view, event)) is not None
        ]
        for start in range(0, len(entries), MOST_ENTRIES):
            answer = self._client.put_events(Entries=entries[start : start + MOST_ENTRIES])
            if answer["FailedEntryCount"]:
                refused = [found for found in answer["Entries"] if found.get("ErrorCode")]
                raise RuntimeError(f"the bus refused {len(refused)} events: {refused[0].get('ErrorMessage')}")


def detail(view: GroupSnapshot, event: Event) -> dict[str, object] | None:
    """Return the detail of a bus event: actor, change, place, reason and ledger position; None for kinds not published."""
    state = view.find_version(event.version) if event.version is not None else None
    found = detail_of(event, state.package.arn if state else "")
    return dict(msgspec.json.decode(msgspec.json.encode(found))) if found is not None else None
