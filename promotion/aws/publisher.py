"""The event bus: what happened, told to whoever listens. Shapes are in docs/events/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from promotion import names
from promotion.aws import Client
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
MOST_ENTRIES = 10


class EventsTarget:
    """Puts each published event once it is in the ledger. A second time is possible; `event_id` tells."""

    one_by_one = False

    def __init__(self, client: Client, bus: str) -> None:
        self._client = client
        self._bus = bus

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        entries: list[Any] = [
            {
                "Source": names.EVENT_SOURCE,
                "DetailType": event.kind,
                "Detail": json.dumps(detail(view, event), ensure_ascii=False),
                "EventBusName": self._bus,
                "Time": event.time,
            }
            for event in events
            if event.kind in names.PUBLISHED
        ]
        for start in range(0, len(entries), MOST_ENTRIES):
            answer = self._client.put_events(Entries=entries[start : start + MOST_ENTRIES])
            if answer["FailedEntryCount"]:
                refused = [found for found in answer["Entries"] if found.get("ErrorCode")]
                raise RuntimeError(f"the bus refused {len(refused)} events: {refused[0].get('ErrorMessage')}")


def detail(view: GroupSnapshot, event: Event) -> dict[str, Any]:
    """What listeners are told: who, what, where, why, and where in the ledger it stands."""
    state = view.find_version(event.version) if event.version is not None else None
    found: dict[str, Any] = {
        "schema": 1,
        "model_package_group": event.group,
        "model_package_version": event.version,
        "model_package_arn": state.package.arn if state else None,
        "environment": event.environment,
        "actor": event.actor.subject,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "sequence": event.sequence,
        "event_id": event.event_id,
        "hash": event.hash,
    }
    told = (
        "verdict", "reason", "request_id", "approved_by", "replaces", "from_version", "falls_back", "status", "by",
        "run_id", "expires_at", "attempt", "broke_glass", "source", "drift", "bound", "violations", "report", "retraining",
        "retraining_held", "endpoint", "serves", "problem",
    )  # fmt: skip
    said = msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(event.payload)))
    found |= {name: said[name] for name in told if said.get(name) not in (None, "")}
    return {key: value for key, value in found.items() if value is not None}
