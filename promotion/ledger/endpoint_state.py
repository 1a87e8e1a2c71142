"""What is known of real-time endpoints, as events fold into it: what was seen of one, and what an operator asked for."""

from __future__ import annotations

from msgspec.structs import replace

from promotion import names
from promotion.domain.model import EndpointState
from promotion.errors import require
from promotion.ledger.events import Event
from promotion.ledger.payloads import EndpointChanged
from promotion.ledger.snapshot import GroupSnapshot


def changed(view: GroupSnapshot, event: Event, payload: EndpointChanged) -> None:
    name = require(event.environment, f"event {event.sequence} of {event.group}", "environment")
    environment, status = view.environment(name), payload.status
    known = environment.endpoint
    if status == names.ENDPOINT_REMOVED:
        now = replace(known, removed=True)
    elif status == names.ENDPOINT_RESTORED:
        now = replace(known, removed=False, asked=event.sequence)
    else:
        now = EndpointState(
            name=payload.endpoint,
            status=status,
            version=payload.serves,
            config=payload.config,
            problem=payload.problem,
            since=event.time,
            removed=known.removed,
            asked=known.asked,
        )
    view.put_environment(replace(environment, endpoint=now))
