"""Mail that is delayed for a short time, so that later events can replace it: `[advanced.mail] settle`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from promotion import names
from promotion.aws.messages.held_mail import Waiting
from promotion.aws.messages.mailer import MailTarget
from promotion.config.loading import Config
from promotion.ledger.append import Ledger
from promotion.ledger.events import Event, environment_of, version_of
from promotion.ledger.payloads import ApprovalRequested
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.urls import Links
from promotion.rendering.mail import waiting
from promotion.rendering.mails.digest import KINDS, Key, Waits, digests
from promotion.workflows import storms
from promotion.workflows.storms import Storm


class Events(Ledger, Protocol):
    """A ledger from which single events can be read."""

    def event(self, group: str, sequence: int) -> Event | None:
        """Return one event of a group; None if there is none."""


class Held(Protocol):
    """The store of delayed mail and of its wake-up messages: promotion/aws/messages/held_mail.py."""

    def storms(self, group: str) -> dict[str, Storm]: ...
    def put_storm(self, group: str, environment: str, storm: Storm) -> None: ...
    def digest(self) -> list[Waiting]: ...
    def put(self, waiting: Waiting) -> None: ...
    def remove(self, waiting: Waiting) -> None: ...
    def wake(self, group: str, after: timedelta) -> None: ...


class SettlingMail:
    """Send most mail at once, and delay mail about requests, reminders, expiries and superseded requests.

    Of requests that follow one another quickly, only the newest is mailed, once no other follows. Reminders, expiries
    and superseded requests of a short time are one mail to each recipient. `announce`, if there are channels, is
    called with the events that channels receive together with the mail: a request, or events of one kind and group.

    Delayed mail is stored before the cursor passes its event, and removed after it was sent, so that a crash loses no
    mail. As with MailTarget, a mail is sent twice only if this process stops after SES accepted it and before that was
    stored.
    """

    one_by_one = True

    def __init__(
        self,
        mail: MailTarget,
        held: Held,
        ledger: Events,
        config: Config,
        links: Links,
        settle: timedelta,
        now: Callable[[], datetime],
        announce: Callable[[Sequence[Event]], None] | None,
    ) -> None:
        self._mail = mail
        self._held = held
        self._ledger = ledger
        self._config = config
        self._links = links
        self._settle = settle
        self._now = now
        self._announce = announce

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        """Send the mails of events, or store those that are delayed."""
        for event in events:
            if not (self._settle and self._waits(view, event)):
                self._mail.project(view, [event])

    def _waits(self, view: GroupSnapshot, event: Event) -> bool:
        if event.kind in KINDS:
            self._held.put(Waiting(group=event.group, sequence=event.sequence, since=event.time))
            self._held.wake(names.DIGEST, event.time + self._settle - self._now())
            return True
        if not _is_open(event, view, self._now()):
            # The event is no request, or the request is no longer open.
            return False
        name = environment_of(event)
        storm = storms.requested(self._held.storms(event.group).get(name), event.sequence, event.time, self._settle)
        if storm.held is None:
            storm = self._announce_request(storm, event)
        self._held.put_storm(event.group, name, storm)
        due = storm.due(self._settle)
        if due is None:
            return False
        self._held.wake(event.group, due - self._now())
        return True

    def release(self, group: str, *, again: bool) -> None:
        """Send a group's delayed mail about requests that is due; with `again`, schedule a wake-up for the rest.

        If an environment's mail fails, the other environments' mail is still sent; the failed mail stays delayed, and
        its error is raised at the end.
        """
        refused: list[Exception] = []
        for name, storm in self._held.storms(group).items():
            due = storm.due(self._settle)
            if storm.held is None or due is None:
                continue
            if self._now() < due:
                if again:
                    self._held.wake(group, due - self._now())
                continue
            event = self._ledger.event(group, storm.held)
            view = self._ledger.view(group)
            try:
                if event is not None and _is_open(event, view, self._now()):
                    storm = self._announce_request(storm, event)
                    self._held.put_storm(group, name, storm)
                    self._mail.project(view, [event])
            except Exception as error:  # noqa: BLE001 - raised again once all others have been told
                refused.append(error)
                continue
            self._held.put_storm(group, name, storms.mailed(storm, self._now()))
        if refused:
            raise refused[0]

    def send_digest(self) -> None:
        """Send the digests, once their first event has waited long enough.

        A failing mail, or a group that can't be read, does not stop the others; its events keep waiting, and the error is raised
        at the end. No event waits for an address that SES refuses permanently.
        """
        found = {(each.group, each.sequence): each for each in self._held.digest()}
        if not found:
            return
        due = min(each.since for each in found.values()) + self._settle
        if self._now() < due:
            self._held.wake(names.DIGEST, due - self._now())
            return
        events, said, failed, kept = dict[Key, Event](), dict[Key, Waits](), list[Exception](), set[Key]()
        for key, each in found.items():
            try:
                if (event := self._event(each)) is not None:
                    said[key] = self._waiting_mail(each, event)
                    events[key] = event
            except Exception as error:  # noqa: BLE001 - a group that can't be read keeps no other from its mail
                failed.append(error)
                kept.add(key)
        self._announce_digest(found, events)
        for message, keys in digests(said, self._links, self._now()):
            try:
                refused = self._mail.send(message)
            except Exception as error:  # noqa: BLE001 - raised again once all others have been told
                failed.append(error)
                kept.update(keys)
                continue
            for key in keys:
                found[key] = replace(found[key], told=(*found[key].told, *message.to))
                self._held.put(found[key])
                self._mail.report_outcome(events[key], message, refused)
        for key, each in found.items():
            if key not in kept:
                self._held.remove(each)
        if failed:
            raise failed[0]

    def _announce_request(self, storm: Storm, event: Event) -> Storm:
        """Send a request to channels, once."""
        if self._announce is None or storm.told == event.sequence:
            return storm
        self._announce([event])
        return replace(storm, told=event.sequence)

    def _announce_digest(self, found: dict[Key, Waiting], events: Mapping[Key, Event]) -> None:
        """Send channels one message for each group and kind of event, once."""
        if self._announce is None:
            return
        untold: dict[tuple[str, str], list[Key]] = {}
        for key, event in sorted(events.items()):
            if not found[key].channels_told:
                untold.setdefault((event.group, event.kind), []).append(key)
        for keys in untold.values():
            self._announce([events[key] for key in keys])
            for key in keys:
                found[key] = replace(found[key], channels_told=True)
                self._held.put(found[key])

    def _event(self, each: Waiting) -> Event | None:
        event = self._ledger.event(each.group, each.sequence)
        # A table that was restored to an earlier time may have another event at this position.
        return event if event is not None and event.kind in KINDS else None

    def _waiting_mail(self, each: Waiting, event: Event) -> Waits:
        view = self._ledger.view(each.group)
        return waiting(event, view=view, config=self._config, links=self._links, told=each.told)


def _is_open(event: Event, view: GroupSnapshot, now: datetime) -> bool:
    """Return True if the request that an event made still waits for its decision."""
    payload = event.payload
    if not isinstance(payload, ApprovalRequested):
        return False
    state = view.find_version(version_of(event))
    request = state.requests.get(environment_of(event)) if state else None
    return request is not None and request.attempt == payload.attempt and request.state_at(now) == "Pending"
