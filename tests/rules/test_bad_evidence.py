"""For any registered or measured evidence, mail and page are made, are right, and say what is missing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import pytest
from msgspec.structs import replace

from promotion.domain.model import Evidence, Metric
from promotion.domain.people import Actor, Requester
from promotion.rendering.documents.card import card_sections
from tests.rules.markup import Document
from tests.rules.scenario import BEGINNING, Scenario, measured, page, registered


def asks(evidence: Evidence) -> Scenario:
    """Version 2 asks for test, where version 1 is live, on a run that came to `evidence`."""
    scenario = Scenario()
    scenario.promotes(1, 0.64)
    scenario.decides("test", 1)
    scenario.registers(2)
    scenario.decides("dev", 2)
    scenario.runs("dev", 2, replace(evidence, run_id="dev-2"))
    return scenario


def nothing_measured() -> Scenario:
    return asks(measured(0.7, metrics={}))


def another_task() -> Scenario:
    return asks(measured(0.7, task="text-classification", metrics={"accuracy": Metric(value=0.9, n=240)}))


def half_the_references() -> Scenario:
    return asks(measured(0.7, counts={"records": 240, "missing_references": 120}))


def not_a_number() -> Scenario:
    return asks(measured(0.7, metrics={"rougeL": Metric(value=float("nan"), n=240)}))


def first(**about: object) -> Scenario:
    scenario = Scenario()
    scenario.registers(1, **about)
    return scenario


def unregistered_metrics() -> Scenario:
    return first(evidence=Evidence(source="registration", status="Missing", problem="no metrics were registered"))


def a_card_that_is_no_json() -> Scenario:
    return first(card=card_sections({"ModelCardContent": "{intended use: headlines", "ModelCardStatus": "Draft"}))


def a_description_of_a_hundred_kilobytes() -> Scenario:
    return first(description="<h1>Summaries</h1><script>alert(1)</script> " + "of harbour logs " * 6_400)


def names_from_everywhere() -> Scenario:
    requester = Requester(actor=Actor(kind="requester", subject="y", name="יעל כהן 🙂"), declared_by="self")
    return first(requester=requester, metadata={"dataset": "新闻 2026"}, evidence=registered(0.5))


# What the page says beside it.
SHOWN = {
    a_card_that_is_no_json: ["One is attached, but it can’t be read: it is not a JSON object."],
    a_description_of_a_hundred_kilobytes: ["more characters in the registry"],
    names_from_everywhere: ["新闻 2026"],
}


@pytest.mark.parametrize(
    ("story", "said"),
    [
        (nothing_measured, ["measured no metrics: references are missing", "rougeL is missing", "can’t enter test"]),
        (another_task, ["metrics of text-classification; what is live was measured on summarization", "rougeL is missing"]),
        (half_the_references, ["120 of 240 records have no reference, so the metrics leave them out."]),
        (not_a_number, ["rougeL is missing", "exact_match is missing", "can’t enter test"]),
        (unregistered_metrics, ["No metrics were registered with this version: nothing here says how good it is."]),
        (a_card_that_is_no_json, ["Registered by: Dee (self-declared)"]),
        (a_description_of_a_hundred_kilobytes, ["<script>alert(1)</script>"]),
        (names_from_everywhere, ["יעל כהן 🙂 (self-declared)"]),
    ],
)  # fmt: skip
def test_the_mail_goes_out_and_says_what_it_lacks(story: Callable[[], Scenario], said: list[str]) -> None:
    scenario = story()
    asked = [event for event in scenario.events if event.kind == "Approval Requested"][-1]
    approvers = tuple(scenario.config.environment(str(asked.environment), scenario.group).approvers)
    message = [mail for mail in scenario.mails("Approval Requested") if mail.to == approvers][-1]
    words = " ".join(message.text.split())
    assert [sentence for sentence in said if sentence not in words] == []
    html = Document(message.html).words
    assert [sentence for sentence in said if sentence.removeprefix("Registered by: ") not in html] == []
    assert len(message.html.encode()) < 102_000
    shown = Document(page("request", scenario.request(str(asked.environment), int(asked.version or 0)))).words
    assert f"v{asked.version}" in shown
    assert [sentence for sentence in SHOWN.get(story, []) if sentence not in shown] == []


@pytest.fixture
def far_away() -> Iterator[None]:
    """A machine in Kiritimati, where it is tomorrow already."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("far_away")
def test_times_are_universal_wherever_somebody_is() -> None:
    scenario = Scenario()
    scenario.now = BEGINNING.astimezone(timezone(timedelta(hours=-11)))
    scenario.registers(1, created_at=datetime(2026, 11, 20, 23, 0, tzinfo=timezone(timedelta(hours=14))))
    [message] = scenario.mails()
    assert "Decide by: Mon 23 Nov 2026, 09:00 UTC, in 3 days" in message.text
    document = scenario.request("dev", 1)
    assert json.loads(json.dumps(document))["package"]["created_at"] == "2026-11-20T09:00:00Z"
