"""Mails about events, with their recipients; one mail a request, to all its approvers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import assert_never

from promotion.config.loading import Config
from promotion.ledger import payloads
from promotion.ledger.events import Event
from promotion.ledger.payloads import Payload, Unknown
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.urls import Links
from promotion.rendering.documents.pictures import PictureSource
from promotion.rendering.mails import digest, notices, registry, requests, stops
from promotion.rendering.mails.context import MailContext, SampleSource, SliceSource
from promotion.rendering.mails.layout import Letter, Message, mime, written

__all__ = ["Message", "compose", "letters", "mime", "waiting"]


def _write(o: MailContext, payload: Payload | Unknown) -> list[Letter]:
    match payload:
        case payloads.ApprovalRequested():
            return requests.requested(o)
        case payloads.ApproverReminded():
            return requests.reminded(o)
        case payloads.ArtifactHashed():
            return stops.artifact_failed(o, payload)
        case payloads.InferenceCompleted():
            return requests.measured(o, payload)
        case payloads.InferenceSkipped():
            return stops.not_measured(o, payload)
        case payloads.DecisionRecorded():
            return notices.decided(o, payload)
        case payloads.ModelPromoted():
            return notices.promoted(o, payload)
        case payloads.RequestExpired():
            return notices.expired(o)
        case payloads.RequestSuperseded():
            return notices.superseded(o, payload)
        case payloads.ModelRolledBack():
            return notices.rolled_back(o, payload)
        case payloads.ModelRevoked():
            return notices.revoked(o, payload)
        case payloads.ApprovalBypassed():
            return notices.bypassed(o, payload)
        case payloads.IntegrityBroken():
            return notices.integrity_broken(o, payload)
        case payloads.DriftDetected():
            return notices.drifted(o, payload)
        case payloads.EndpointChanged():
            return notices.endpoint_changed(o, payload)
        case payloads.ModelRegistered():
            return [*registry.registered(o, payload), *stops.no_room(o)]
        case payloads.PackageChanged():
            return registry.changed(o, payload)
        case payloads.PackageRemoved():
            return registry.removed(o)
        case (
            payloads.RegistrationAsked()
            | payloads.ModelAdopted()
            | payloads.RequestWithdrawn()
            | payloads.DriftEnded()
            | payloads.RetrainingStarted()
            | payloads.PolicyChanged()
            | payloads.SigningKeyChanged()
            | Unknown()
        ):
            return []
        case _:
            assert_never(payload)


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
    """Return the mails about `event`; most kinds have none or one.

    `picture` reads a PNG by its s3:// address, or returns None; `samples` reads the predictions of a metrics document
    by its address, and is called only if the configuration allows them in mail; `slices` reads the document's metrics
    by slice.
    """
    found = letters(event, view=view, config=config, links=links, picture=picture, samples=samples, slices=slices)
    thread = hashlib.sha256(f"{event.group}:{event.version}".encode()).hexdigest()[:32]
    return [
        written(letter, thread=thread, message_id=f"{event.event_id}.{index}", date=event.time)
        for index, letter in enumerate(found)
        if letter.to
    ]


def waiting(
    event: Event, *, view: GroupSnapshot, config: Config, links: Links, told: Sequence[str] = ()
) -> digest.Waits:
    """Return the letters of an event that waits for a digest; `told` are the addresses that have received it."""
    found = letters(event, view=view, config=config, links=links)
    alone = bool(found)
    if (
        not alone
        and isinstance(event.payload, payloads.RequestSuperseded)
        and event.environment in config.environment_names
    ):
        o = MailContext(
            event=event, view=view, config=config, links=links, picture=lambda uri: None, samples=lambda uri: ()
        )
        found = notices.superseded(o, event.payload, own=True)
    return digest.Waits(kind=event.kind, letters=found, told=told, never_alone=not alone)


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
    """Return the content for an event; mails and channels (promotion/rendering/channels.py) share it."""
    # An environment that was removed from the configuration has no approvers.
    if event.version is None or (event.environment or "") not in ("", *config.environment_names):
        return []
    occasion = MailContext(
        event=event, view=view, config=config, links=links, picture=picture, samples=samples, slices=slices
    )
    return _write(occasion, event.payload)
