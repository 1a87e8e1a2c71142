"""What an event has to say to people, and to whom. One mail a request, to all its approvers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from promotion import names
from promotion.config.loading import Config
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.urls import Links
from promotion.rendering.documents.pictures import PictureSource
from promotion.rendering.mails import notices, requests
from promotion.rendering.mails.context import Occasion, SampleSource, SliceSource
from promotion.rendering.mails.layout import Letter, Message, mime, written

__all__ = ["Message", "compose", "letters", "mime"]

_WRITERS: dict[str, Callable[[Occasion], list[Letter]]] = {
    names.APPROVAL_REQUESTED: requests.requested,
    names.APPROVER_REMINDED: requests.reminded,
    names.DECISION_RECORDED: notices.decided,
    names.MODEL_PROMOTED: notices.promoted,
    names.REQUEST_EXPIRED: notices.expired,
    names.REQUEST_SUPERSEDED: notices.superseded,
    names.MODEL_ROLLED_BACK: notices.rolled_back,
    names.MODEL_REVOKED: notices.revoked,
    names.APPROVAL_BYPASSED: notices.bypassed,
    names.INTEGRITY_BROKEN: notices.integrity_broken,
    names.DRIFT_DETECTED: notices.drifted,
    names.ENDPOINT_CHANGED: notices.endpoint_changed,
}


def compose(
    event: Event,
    *,
    view: GroupSnapshot,
    config: Config,
    links: Links,
    picture: PictureSource,
    samples: SampleSource = lambda uri: (),
    slices: SliceSource = lambda uri: {},
) -> list[Message]:
    """The mails that `event` calls for; most kinds call for none or one.

    `picture` fetches a PNG by its s3:// address, or None where there is none; `samples` the predictions behind a metrics
    address, asked only where the configuration lets them into mail; `slices` the metrics by slice that lie there too.
    """
    found = letters(event, view=view, config=config, links=links, picture=picture, samples=samples, slices=slices)
    thread = hashlib.sha256(f"{event.group}:{event.version}".encode()).hexdigest()[:32]
    return [
        written(letter, thread=thread, message_id=f"{event.event_id}.{index}", date=event.time)
        for index, letter in enumerate(found)
        if letter.to
    ]


def letters(
    event: Event,
    *,
    view: GroupSnapshot,
    config: Config,
    links: Links,
    picture: PictureSource = lambda uri: None,
    samples: SampleSource = lambda uri: (),
    slices: SliceSource = lambda uri: {},
) -> list[Letter]:
    """What `event` has to say, before it is a mail; channels say the same (promotion/rendering/channels.py)."""
    write = _WRITERS.get(event.kind)
    # An environment that has left the configuration has no approvers to write to.
    if write is None or event.version is None or (event.environment or "") not in ("", *config.environment_names):
        return []
    return write(
        Occasion(event=event, view=view, config=config, links=links, picture=picture, samples=samples, slices=slices)
    )
