"""Each channel's message against the format that its maker publishes. The formats were read in their documentation, not tried."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from promotion.rendering.channels import Notice, plain, slack, teams

TEXT = {"type": "string", "minLength": 1}
# https://docs.slack.dev/reference/block-kit/blocks/section-block and https://docs.slack.dev/reference/methods/chat.postMessage
SLACK = {
    "type": "object",
    "required": ["text", "blocks"],
    "additionalProperties": False,
    "properties": {
        "text": {**TEXT, "maxLength": 40_000},
        "blocks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "type": "object",
                "required": ["type", "text"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "section"},
                    "text": {
                        "type": "object",
                        "required": ["type", "text"],
                        "additionalProperties": False,
                        "properties": {
                            "type": {"enum": ["mrkdwn", "plain_text"]},
                            "text": {**TEXT, "maxLength": 3000},
                            "verbatim": {"type": "boolean"},
                        },
                    },
                },
            },
        },
    },
}
# https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
# https://adaptivecards.io/explorer/TextBlock.html
TEAMS = {
    "type": "object",
    "required": ["type", "attachments"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "message"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["contentType", "content"],
                "properties": {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": ["null", "string"]},
                    "content": {
                        "type": "object",
                        "required": ["type", "version", "body"],
                        "properties": {
                            "$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"},
                            "type": {"const": "AdaptiveCard"},
                            "version": {"enum": ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]},
                            "body": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "object",
                                    "required": ["type", "text"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "type": {"const": "TextBlock"},
                                        "text": TEXT,
                                        "weight": {"enum": ["Default", "Lighter", "Bolder"]},
                                        "size": {"enum": ["Default", "Small", "Medium", "Large", "ExtraLarge"]},
                                        "wrap": {"type": "boolean"},
                                        "spacing": {"enum": ["None", "Small", "Default", "Medium", "Large"]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
LARGEST_TEAMS_BYTES = 28 * 1024
LARGEST_SNS_BYTES = 256 * 1024


def notice(title: str, lines: tuple[str, ...]) -> Notice:
    link = ("Review and decide", "https://promotion.example.com/approvals/x")
    return Notice(kind="Approval Requested", group="news", environment="dev", title=title, lines=lines, link=link)


SHORT = notice("Approve news v1 for dev?", ("No gates are set; nothing is live.",))
LONG = notice("🙈" * 400, ("é🙈<!channel>&*_[x](y)" * 20,) * 30)


@pytest.mark.parametrize("told", [SHORT, LONG], ids=["short", "long"])
def test_slack_takes_it(told: Notice) -> None:
    jsonschema.validate(slack(told), SLACK)


@pytest.mark.parametrize("told", [SHORT, LONG], ids=["short", "long"])
def test_teams_takes_it(told: Notice) -> None:
    jsonschema.validate(teams(told), TEAMS)
    # As `requests` sends it: what is not ASCII is escaped.
    assert len(json.dumps(teams(told)).encode()) <= LARGEST_TEAMS_BYTES


def test_for_teams_only_the_end_is_cut_never_the_title_or_the_link() -> None:
    def texts(told: Notice) -> list[str]:
        body: list[dict[str, Any]] = teams(told)["attachments"][0]["content"]["body"]
        return [block["text"] for block in body]

    assert 3 < len(texts(LONG)) < 32
    assert texts(LONG)[-1].startswith("[Review and decide](https://")
    assert len(texts(SHORT)) == 3


@pytest.mark.parametrize("told", [SHORT, LONG], ids=["short", "long"])
def test_sns_takes_it(told: Notice) -> None:
    # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    subject, text = plain(told)
    assert 0 < len(subject) <= 100
    assert subject.isascii()
    assert subject.isprintable()
    assert subject[0].isalnum() or subject[0] in "!-/:-@[-`{-~?"
    assert 0 < len(text.encode()) <= LARGEST_SNS_BYTES
