"""The function that tells channels: it believes the ledger, and passes a channel's failure on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from lambdas.handlers import on_event_published
from promotion import names
from promotion.aws.messages.channel_messages import ChannelMessages
from promotion.aws.messages.channels import ChannelFailed
from promotion.aws.messages.publisher import EventsTarget
from promotion.config.loading import parse
from tests.fakes import CONFIG_TEXT, GROUP, FakeService, as_client
from tests.rules.scenario import LINKS

SETTINGS = """
[channels.releases]
topic = "arn:aws:sns:us-east-1:123456789012:releases"
[advanced.channels.releases]
events = ["Model Promoted"]
"""


class FakeSns:
    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.broken = False

    def publish(self, **given: Any) -> None:
        if self.broken:
            raise ChannelFailed("the topic is away")
        self.published.append(given)


class FakeBus:
    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.full = False

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        if self.full:
            said = {"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"}
            return {"FailedEntryCount": 1, "Entries": [said, *({"EventId": "x"} for _ in Entries[1:])]}
        self.entries += Entries
        return {"FailedEntryCount": 0, "Entries": [{}]}


@pytest.fixture
def sns(monkeypatch: pytest.MonkeyPatch) -> FakeSns:
    made = FakeSns()
    monkeypatch.setattr(on_event_published, "client", lambda name: made)
    monkeypatch.setattr(on_event_published, "links", lambda: LINKS)
    return made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, sns: FakeSns) -> FakeService:
    """Version 1 is live in dev, and promotions are told."""
    fake = FakeService(parse(CONFIG_TEXT + SETTINGS))
    fake.promote(1, "dev")
    monkeypatch.setattr(on_event_published, "ledger", lambda: fake.ledger)
    monkeypatch.setattr(on_event_published, "config", lambda: fake.config)
    return fake


def published(fake: FakeService, kind: str, **changes: Any) -> dict[str, Any]:
    event = next(event for event in fake.events() if event.kind == kind)
    detail = {"model_package_group": GROUP, "sequence": event.sequence, "event_id": event.event_id}
    return {"channel": "releases", "detail": {**detail, **changes}}


def test_a_promotion_is_told(fake: FakeService, sns: FakeSns) -> None:
    assert on_event_published.handler(published(fake, names.MODEL_PROMOTED), None) == {"told": "releases"}
    (message,) = sns.published
    assert message["Subject"] == f"{GROUP} v1 is live in dev"


@pytest.mark.parametrize("changes", [{"event_id": "f" * 32}, {"sequence": 99}, {"model_package_group": "other"}])
def test_an_event_that_is_not_in_the_ledger_is_not_sent(
    fake: FakeService, sns: FakeSns, changes: dict[str, Any]
) -> None:
    assert "refused" in on_event_published.handler(published(fake, names.MODEL_PROMOTED, **changes), None)
    assert sns.published == []


def test_a_channel_hears_only_what_it_asked_for(fake: FakeService, sns: FakeSns) -> None:
    answer = on_event_published.handler(published(fake, names.DECISION_RECORDED), None)
    assert answer == {"ignored": "not for this channel"}
    gone = {**published(fake, names.MODEL_PROMOTED), "channel": "closed"}
    assert on_event_published.handler(gone, None) == {"ignored": "not for this channel"}
    assert sns.published == []


@pytest.mark.parametrize(
    ("source", "settle", "answer"),
    [
        (names.EVENT_SOURCE, "60s", {"ignored": "told once its mail is due"}),
        (names.CHANNELS_SOURCE, "60s", {"told": "releases"}),
        (names.EVENT_SOURCE, "0s", {"told": "releases"}),
    ],
)
def test_a_request_is_told_once_its_mail_is_due(
    fake: FakeService, sns: FakeSns, source: str, settle: str, answer: dict[str, str]
) -> None:
    channel = replace(fake.config.channels["releases"], events=())
    fake.config = replace(fake.config, channels={"releases": channel}, mail=replace(fake.config.mail, settle=settle))
    event = {**published(fake, names.APPROVAL_REQUESTED), "source": source}
    assert on_event_published.handler(event, None) == answer
    assert len(sns.published) == ("told" in answer)


def test_requests_that_were_superseded_in_a_storm_are_one_message(fake: FakeService, sns: FakeSns) -> None:
    for version in (2, 3, 4):
        fake.register(version)
    bus = FakeBus()
    channel = replace(fake.config.channels["releases"], events=(names.REQUEST_SUPERSEDED,))
    fake.config = replace(fake.config, channels={"releases": channel})
    superseded = [event for event in fake.events() if event.kind == names.REQUEST_SUPERSEDED]
    ChannelMessages(as_client(bus), "bus", fake.config.channels).announce(superseded)
    [entry] = bus.entries
    assert (entry["Source"], entry["DetailType"]) == (names.CHANNELS_SOURCE, names.REQUEST_SUPERSEDED)
    event = {"channel": "releases", "source": entry["Source"], "detail": json.loads(entry["Detail"])}
    assert on_event_published.handler(event, None) == {"told": "releases"}
    (message,) = sns.published
    assert message["Subject"] == f"2 requests of {GROUP} were superseded"
    assert message["Message"].count("superseded") == 3


def test_an_event_for_no_channel_is_not_put_on_the_bus(fake: FakeService) -> None:
    bus = FakeBus()
    messages = ChannelMessages(as_client(bus), "bus", fake.config.channels)
    messages.announce([event for event in fake.events() if event.kind == names.APPROVAL_REQUESTED][:1])
    assert bus.entries == []


def test_an_event_of_a_kind_that_is_not_published_is_not_put_on_the_bus(fake: FakeService) -> None:
    bus = FakeBus()
    everything = replace(fake.config.channels["releases"], events=())
    registered = next(event for event in fake.events() if event.kind == names.MODEL_REGISTERED)
    ChannelMessages(as_client(bus), "bus", {"releases": everything}).announce([registered])
    assert bus.entries == []


def test_a_bus_that_refuses_an_event_is_tried_again(fake: FakeService) -> None:
    """PutEvents succeeds though it refused a part: what is refused would be lost."""
    bus = FakeBus()
    bus.full = True
    promoted = [event for event in fake.events() if event.kind == names.MODEL_PROMOTED]
    with pytest.raises(RuntimeError, match="refused a channel's message: Rate exceeded"):
        ChannelMessages(as_client(bus), "bus", fake.config.channels).announce(promoted)
    with pytest.raises(RuntimeError, match="refused 1 events: Rate exceeded"):
        EventsTarget(as_client(bus), "bus").project(fake.view(), fake.events())
    assert bus.entries == []


def test_a_failure_is_passed_on_so_that_it_is_tried_again(fake: FakeService, sns: FakeSns) -> None:
    sns.broken = True
    with pytest.raises(ChannelFailed):
        on_event_published.handler(published(fake, names.MODEL_PROMOTED), None)


@pytest.mark.parametrize("event", [{}, {"channel": "releases"}, {"channel": 1, "detail": {}}])
def test_a_damaged_event_is_refused(fake: FakeService, sns: FakeSns, event: dict[str, Any]) -> None:
    assert "refused" in on_event_published.handler(event, None)
