"""An event as a message for a channel: a short form of the mail, with a link to the page.

It has no buttons, because a decision requires a sign-in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from promotion.config.loading import Config
from promotion.formatting import counted, number, one_line, readable
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.urls import Links
from promotion.rendering.documents.rows import MetricRow
from promotion.rendering.mail import letters
from promotion.rendering.mails.digest import SAID
from promotion.rendering.mails.layout import Letter
from promotion.rendering.sentences import sentence

METRICS_TOLD = 6
PROBLEMS_TOLD = 3
EVENTS_TOLD = 10
LONGEST_LINE = 400
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: ASCII, no line breaks, at most 100.
LONGEST_SUBJECT = 100
# https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using: 28 KB.
LARGEST_TEAMS_BYTES = 27_000
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")


class Notice(Struct, frozen=True, kw_only=True):
    """A message: a title, a few lines, and one link."""

    kind: str
    group: str
    environment: str
    title: str
    lines: tuple[str, ...]
    link: tuple[str, str]


def notice(event: Event, *, view: GroupSnapshot, config: Config, links: Links) -> Notice:
    """Return an event's message for a channel: that of its mail, or else one sentence."""
    written = letters(event, view=view, config=config, links=links)
    if written:
        letter = written[0]
        title, lines, link = letter.headline, _lines(letter), letter.action
    else:
        said = sentence(event)
        title, lines = f"{event.group}: {said}", []
        at_version = event.version is not None
        link = ("See the version", links.version(event.group, event.version or 0)) if at_version else (
            "See the model", links.model(event.group)
        )  # fmt: skip
    return Notice(
        kind=event.kind,
        group=event.group,
        environment=event.environment or "",
        title=one_line(title, LONGEST_LINE),
        lines=tuple(one_line(line, LONGEST_LINE) for line in lines),
        link=link,
    )


def digest_notice(events: Sequence[Event], *, links: Links) -> Notice:
    """Return one message about several events of a kind of one group, the newest last."""
    newest = events[-1]
    said = [one_line(sentence(event), LONGEST_LINE) for event in reversed(events)]
    more = len(said) - EVENTS_TOLD
    return Notice(
        kind=newest.kind,
        group=newest.group,
        environment=newest.environment or "",
        title=f"{counted(len(events), 'request')} of {newest.group} {SAID[newest.kind][1]}",
        lines=(*said[:EVENTS_TOLD], *([f"{more} more are in the model’s history."] if more > 0 else [])),
        link=("See the model", links.model(newest.group)),
    )


def _lines(letter: Letter) -> list[str]:
    lines = list(letter.intro)
    if letter.quote:
        lines.append(f"“{readable(letter.quote, LONGEST_LINE)[0]}”")
    failed_first = sorted(letter.rows, key=lambda row: row["open"] is not False)
    lines += [_metric(row) for row in failed_first[:METRICS_TOLD]]
    lines += [f"{gate['name']}: {_verdict(gate['open'])}, {gate['why'] or gate['bound']}" for gate in letter.gates]
    lines += letter.problems[:PROBLEMS_TOLD]
    return lines


def _metric(row: MetricRow) -> str:
    live = row["live"]
    against = f" (live {number(live['value'])})" if live else ""
    gates = "; ".join(f"{_verdict(gate['open'])}: {gate['bound']}" for gate in row["gates"])
    return f"{row['metric']} {number(row['candidate']['value'])}{against}" + (f", {gates}" if gates else "")


def _verdict(is_open: bool) -> str:
    return "passed" if is_open else "FAILED"


def plain(told: Notice) -> tuple[str, str]:
    """Return subject and text for SNS."""
    # SNS subjects are ASCII; our own texts contain only one other character, the typographic apostrophe.
    title = told.title.replace("’", "'")
    subject = one_line(title.encode("ascii", "replace").decode(), LONGEST_SUBJECT).replace("…", ".")
    return subject, "\n".join(
        [told.title, *(f"- {line}" for line in told.lines), "", f"{told.link[0]}: {told.link[1]}"]
    )


def slack(told: Notice) -> dict[str, Any]:
    """Return a Slack message, in blocks of at most 3,000 characters of text.

    https://docs.slack.dev/reference/block-kit/blocks/section-block
    """
    body = "\n".join([f"*{_slack(told.title)}*", *(f"• {_slack(line)}" for line in told.lines)])
    label, address = told.link
    return {
        "text": _slack(told.title),
        "blocks": [
            # Verbatim, so that addresses and names in untrusted text don't become links.
            {"type": "section", "text": {"type": "mrkdwn", "text": _cut(body, 2900), "verbatim": True}},
            {"type": "section", "text": {"type": "mrkdwn", "text": f"<{address}|{_slack(label)}>"}},
        ],
    }


def teams(told: Notice) -> dict[str, Any]:
    """Return an adaptive card for Teams' webhooks.

    https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors
    """
    card = _card(told)
    while len(json.dumps(card)) > LARGEST_TEAMS_BYTES and told.lines:
        told = replace(told, lines=told.lines[:-1])
        card = _card(told)
    return card


def _card(told: Notice) -> dict[str, Any]:
    label, address = told.link
    blocks = [{"type": "TextBlock", "text": _markdown(told.title), "weight": "Bolder", "size": "Medium", "wrap": True}]
    blocks += [{"type": "TextBlock", "text": _markdown(line), "wrap": True, "spacing": "Small"} for line in told.lines]
    blocks.append({"type": "TextBlock", "text": f"[{_markdown(label)}]({address})", "wrap": True})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


STYLES = {"slack": slack, "teams": teams}


def _slack(text: str) -> str:
    """Escape untrusted text, so that it makes no links or mentions: <!channel> is markup, &lt;!channel&gt; is text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return text[:longest].rpartition("\n")[0] + "\n…"
