"""What is known of real-time endpoints, as events fold into it: what was seen of one, and what an operator asked for."""

from __future__ import annotations

from msgspec.structs import replace

from promotion import names
from promotion.domain.model import EndpointState
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot


def changed(view: GroupSnapshot, event: Event) -> None:
    assert event.environment is not None, event.kind
    environment, status, data = view.environment(event.environment), event.data["status"], event.data
    known = environment.endpoint
    if status == names.ENDPOINT_REMOVED:
        now = replace(known, removed=True)
    elif status == names.ENDPOINT_RESTORED:
        now = replace(known, removed=False, asked=event.sequence)
    else:
        now = EndpointState(
            name=data["endpoint"],
            status=status,
            version=data.get("serves"),
            config=data.get("config", ""),
            problem=data.get("problem", ""),
            since=event.time,
            removed=known.removed,
            asked=known.asked,
        )
    view.put_environment(replace(environment, endpoint=now))
