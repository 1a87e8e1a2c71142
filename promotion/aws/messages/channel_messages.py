"""Messages for channels, delayed like mail: events on the bus that only the rules of our own channels match."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from promotion import names
from promotion.config.settings import Channel
from promotion.ledger.events import Event

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


class ChannelMessages:
    """Put events of one group and kind on the bus as one message, if a channel receives that kind."""

    def __init__(self, client: EventBridgeClient, bus: str, channels: Mapping[str, Channel]) -> None:
        self._client = client
        self._bus = bus
        self._channels = channels

    def announce(self, events: Sequence[Event]) -> None:
        """Send one message about `events` (the newest last) to channels.

        Raises:
            RuntimeError: the bus rejected the message.
        """
        *others, newest = events
        if newest.kind not in names.PUBLISHED:
            return
        if not any(channel.tells(newest.kind, newest.group) for channel in self._channels.values()):
            return
        detail = {
            "model_package_group": newest.group,
            "sequence": newest.sequence,
            "event_id": newest.event_id,
            "others": [event.sequence for event in others],
        }
        answer = self._client.put_events(
            Entries=[
                {
                    "Source": names.CHANNELS_SOURCE,
                    "DetailType": newest.kind,
                    "Detail": json.dumps(detail),
                    "EventBusName": self._bus,
                    "Time": newest.time,
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise RuntimeError(f"the bus refused a channel's message: {answer['Entries'][0].get('ErrorMessage')}")
