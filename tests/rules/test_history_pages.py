"""The history of a model and of a version in pages: each event once, and none read that is not shown."""

from __future__ import annotations

from typing import Any

import pytest

from promotion.ledger.events import Event
from promotion.rendering import pages
from promotion.rendering.documents.overviews import EVENTS_SHOWN, model_document, version_document
from tests.fakes import ANN, GROUP, FakeService
from tests.rules.scenario import LINKS


@pytest.fixture(scope="module")
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1, to="dev")
    fake.promote(2, to="test")
    for number in range(450):
        fake.measure(2, "dev", run=f"run-{number}")
    return fake


def newest(fake: FakeService, most: int, before: int) -> list[Event]:
    """As the ledger in DynamoDB gives them."""
    return [event for event in fake.events() if not before or event.sequence < before][::-1][:most]


def model(fake: FakeService, before: int) -> dict[str, Any]:
    events = newest(fake, EVENTS_SHOWN, before)
    return model_document(
        GROUP, fake.ledger.versions(GROUP), fake.view().environments, events, ANN, fake.config,
        csrf="", links=LINKS, now=fake.now,
    )  # fmt: skip


def version(fake: FakeService, number: int, before: int, looked_at: int) -> dict[str, Any]:
    return version_document(
        fake.view().version(number), fake.view(), newest(fake, looked_at, before), ANN, fake.config,
        csrf="", links=LINKS, now=fake.now,
    )  # fmt: skip


def walked(first: dict[str, Any], then: Any) -> list[int]:
    """Sequence numbers over all pages, by the link to the earlier ones."""
    document, seen = first, [event["sequence"] for event in first["events"]]
    while document["links"]["earlier"]:
        document = then(int(document["links"]["earlier"].partition("?before=")[2]))
        seen += [event["sequence"] for event in document["events"]]
    return seen


def test_the_pages_of_a_model_have_every_event_once(fake: FakeService) -> None:
    assert walked(model(fake, 0), lambda before: model(fake, before)) == [
        event.sequence for event in reversed(fake.events())
    ]


@pytest.mark.parametrize(("number", "looked_at"), [(1, 100), (2, 100), (2, 1000)])
def test_the_pages_of_a_version_have_each_of_its_events_once(fake: FakeService, number: int, looked_at: int) -> None:
    seen = walked(version(fake, number, 0, looked_at), lambda before: version(fake, number, before, looked_at))
    assert seen == [event.sequence for event in reversed(fake.events()) if event.version == number]


def test_the_page_leads_to_what_is_older_and_counts_it(fake: FakeService) -> None:
    document = model(fake, 0)
    text = pages.render("model", document, person=ANN)
    left = len(fake.events()) - EVENTS_SHOWN
    assert document["events_left_out"] == left
    assert f'<a href="/models/{GROUP}?before={left + 1}" rel="next">Older events</a>' in text
    assert "Older events" not in pages.render("model", model(fake, 20), person=ANN)
