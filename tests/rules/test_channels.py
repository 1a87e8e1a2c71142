"""Messages to channels: the evidence and a link, without a way to decide or to inject text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promotion import names
from promotion.config.loading import parse
from promotion.config.settings import Channel
from promotion.errors import Invalid
from promotion.rendering.channels import Notice, notice, plain, slack, teams
from tests.fakes import CONFIG_TEXT, GROUP, FakeService
from tests.rules import scenarios
from tests.rules.scenario import LINKS

TOPIC = "arn:aws:sns:eu-west-1:123456789012:releases"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat-AbCdEf"
HOSTILE = Notice(
    kind="Approval Requested",
    group="g",
    environment="test",
    title="<!channel> [free](https://evil.example) & \u05e9\u05dc\u05d5\u05dd",
    lines=("<https://evil.example|click>", "**bold** _it_ `x` https://evil.example"),
    link=("See the evidence & decide", "https://promotion.example.com/approvals/x"),
)


@pytest.fixture
def fake() -> FakeService:
    """Version 2 asks for test on a run that its gate shuts."""
    fake = FakeService()
    fake.promote(1)
    fake.register(2)
    fake.decide(2, "dev")
    fake.measure(2, "dev", 0.41)
    return fake


def told(fake: FakeService, kind: str, position: int = -1) -> Notice:
    events = [event for event in fake.events() if event.kind == kind]
    return notice(events[position], view=fake.view(), config=fake.config, links=LINKS)


def test_a_request_is_told_with_its_evidence_and_a_link_to_its_page(fake: FakeService) -> None:
    found = told(fake, names.APPROVAL_REQUESTED)
    said = "\n".join(found.lines)
    assert "rougeL 0.41 (live 0.7), FAILED: at least 0.6" in said
    assert found.link[1].startswith("https://promotion.example.com/approvals/")
    assert GROUP in found.title


def test_every_event_of_a_long_story_can_be_told(fake: FakeService) -> None:
    fake.roll_back("prod", None) if fake.view().environment("prod").former else None
    fake.revoke(2)
    for event in fake.events():
        found = notice(event, view=fake.view(), config=fake.config, links=LINKS)
        assert found.title
        assert found.link[1].startswith("https://promotion.example.com/")
        for payload in (slack(found), teams(found)):
            assert len(json.dumps(payload)) < 25_000


def test_an_approval_is_told_though_nobody_is_mailed_of_it(fake: FakeService) -> None:
    found = told(fake, names.DECISION_RECORDED)
    assert found.title == f"{GROUP}: Ann Adler approved v2 for dev: “Good on every slice.”"
    assert found.link[1].endswith(f"/models/{GROUP}/versions/2")


def test_nothing_in_a_message_can_be_pressed(fake: FakeService) -> None:
    """A link leads to a page; a button with an action would decide in the name of whoever sees the chat."""
    for found in (told(fake, names.APPROVAL_REQUESTED), HOSTILE):
        kinds = set(_values(slack(found), "type")) | set(_values(teams(found), "type"))
        assert kinds <= {"section", "mrkdwn", "message", "AdaptiveCard", "TextBlock"}


def test_other_peoples_text_neither_links_nor_calls_everybody() -> None:
    said = slack(HOSTILE)["blocks"][0]["text"]["text"]
    assert "<" not in said
    assert "&lt;!channel&gt;" in said
    # Slack makes links of bare addresses in what is not verbatim.
    assert slack(HOSTILE)["blocks"][0]["text"]["verbatim"] is True
    texts = [block["text"] for block in teams(HOSTILE)["attachments"][0]["content"]["body"]]
    assert texts[0].startswith("<\\!channel\\> \\[free\\]\\(")
    assert texts[-1] == "[See the evidence & decide](https://promotion.example.com/approvals/x)"


def test_an_apostrophe_of_ours_is_legible_in_a_subject() -> None:
    scenario = scenarios.shut_gate()
    event = [event for event in scenario.events if event.kind == names.APPROVAL_REQUESTED][-1]
    told = notice(event, view=scenario.view, config=scenario.config, links=LINKS)
    assert plain(told)[0] == "news-summariser v1 can't enter test"


def test_a_subject_is_what_sns_takes() -> None:
    subject, text = plain(HOSTILE)
    assert subject.isascii()
    assert len(subject) <= 100
    assert "\n" not in subject
    assert text.endswith("See the evidence & decide: https://promotion.example.com/approvals/x")


def test_a_channel_tells_what_it_was_asked_to() -> None:
    channel = Channel(topic=TOPIC, events=(names.MODEL_PROMOTED,), groups=("fraud-*",))
    assert channel.tells(names.MODEL_PROMOTED, "fraud-eu")
    assert not channel.tells(names.MODEL_PROMOTED, "summaries")
    assert not channel.tells(names.MODEL_REVOKED, "fraud-eu")
    assert Channel(topic=TOPIC).tells(names.MODEL_REVOKED, "anything")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[channels.chat]", "either a topic or a webhook_secret"),
        (f'[channels.chat]\ntopic = "{TOPIC}"\nwebhook_secret = "{SECRET}"', "either a topic"),
        ('[channels.chat]\nwebhook_secret = "https://hooks.example.com/T0/B0"', "not the address"),
        ('[channels.chat]\ntopic = "releases"', "no ARN"),
        (f'[channels.chat]\ntopic = "{TOPIC}.fifo"', "standard SNS topic"),
        (
            f'[channels.chat]\ntopic = "{TOPIC}"\n[advanced.channels.chat]\nevents = ["Model Registered"]',
            "no published event",
        ),
        (f'[channels."Chat Room"]\ntopic = "{TOPIC}"', "can't name a channel"),
        (f'[channels.chat]\nwebhook_secret = "{SECRET}"\nstyle = "irc"', "irc"),
    ],
)
def test_a_wrong_channel_is_refused(settings: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse(f"{CONFIG_TEXT}\n{settings}\n")


def test_a_refused_webhook_address_is_not_repeated() -> None:
    with pytest.raises(Invalid) as refused:
        parse(f'{CONFIG_TEXT}\n[channels.chat]\nwebhook_secret = "https://hooks.example.com/T0/B0"\n')
    assert "hooks.example.com" not in str(refused.value)


def _values(document: Any, key: str) -> list[str]:
    if isinstance(document, dict):
        own = [str(document[key])] if key in document else []
        return own + [found for value in document.values() for found in _values(value, key)]
    return [found for value in document for found in _values(value, key)] if isinstance(document, list) else []
