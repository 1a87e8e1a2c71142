"""Notify a channel of an event on this service's bus. Each channel has its own rule, so that failures are separate.

Kinds that are delayed with the mail (`[advanced.mail] settle`) come a second time once they are due, and are sent only then.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from lambdas.shared.dependencies import client, config, ledger, links, logger
from promotion import names
from promotion.aws.messages.channels import sender
from promotion.errors import Invalid
from promotion.ledger.events import Event
from promotion.rendering.channels import Notice, digest_notice, notice
from promotion.rendering.mails.digest import KINDS

# Kinds that are sent to a channel together with their mail.
SETTLED = (names.APPROVAL_REQUESTED, *KINDS)


class Published(Struct, frozen=True, kw_only=True):
    """The trusted part of a published event's detail: its place in the ledger."""

    model_package_group: str
    sequence: int
    event_id: str
    others: tuple[int, ...] = ()


class ChannelInput(Struct, frozen=True, kw_only=True):
    """Input of a channel's rule."""

    channel: str
    detail: Published
    source: str = names.EVENT_SOURCE


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    """Raise the channel's error, so that Lambda retries and finally puts the event on the dead-letter queue."""
    try:
        told = msgspec.convert(event, ChannelInput)
        found = _event(told.detail)
    except (Invalid, msgspec.ValidationError) as error:
        logger.error("event refused", extra={"reason": str(error)})
        return {"refused": str(error)}
    channel = config().channels.get(told.channel)
    if channel is None or not channel.tells(found.kind, found.group):
        return {"ignored": "not for this channel"}
    if config().mail.settles and found.kind in SETTLED and told.source != names.CHANNELS_SOURCE:
        return {"ignored": "told once its mail is due"}
    sender(channel, client).notify(_notice(found, told.detail.others))
    about = {"model_package_group": found.group, "model_package_version": found.version}
    logger.info(
        "channel told", extra={"channel": told.channel, "kind": found.kind, "sequence": found.sequence, **about}
    )
    return {"told": told.channel}


def _notice(event: Event, others: Sequence[int]) -> Notice:
    """Return the message about an event; with `others`, earlier events of its kind, one message about all of them."""
    before = [known for sequence in others if (known := ledger().event(event.group, sequence)) is not None]
    if before:
        return digest_notice([*before, event], links=links())
    return notice(event, view=ledger().view(event.group), config=config(), links=links())


def _event(detail: Published) -> Event:
    """Return the event from the ledger: messages are made from the ledger only.

    Raises:
        Invalid: the ledger has no such event.
    """
    event = ledger().event(detail.model_package_group, detail.sequence)
    if event is None or event.event_id != detail.event_id:
        raise Invalid("event_id", f"{detail.model_package_group} has no such event at {detail.sequence}.")
    return event
