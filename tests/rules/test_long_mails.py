"""A mail that is too long for mail programs loses what matters least, and the page has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from promotion.rendering.documents.evidence import comparison, stopped_by
from promotion.rendering.mails.layout import LARGEST_HTML_BYTES, Letter, Message, written
from tests.fakes import a_run


def mail(**content: Any) -> Message:
    letter = Letter(
        to=("ann@example.com",),
        subject="Approve summariser v1 for dev",
        tone="ask",
        eyebrow="dev",
        headline="Version 1 of summariser waits for you",
        intro=["Its evidence is below."],
        action=("Decide", "https://promotion.example.com/approvals/t"),
        **content,
    )
    return written(letter, thread="summariser:1", message_id="1.0@example.com", date=datetime(2026, 11, 20, tzinfo=UTC))


LONG = "x" * LARGEST_HTML_BYTES
ROWS = comparison(a_run("dev"), None, (), frozenset())


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ({"samples": [], "facts": [("First fact", "a"), ("Last fact", "b")]}, {"First fact", "Last fact"}),
        ({"facts": [("First fact", LONG), ("Last fact", "b")]}, {"Last fact"}),
        ({"facts": [("First fact", "a"), ("Last fact", LONG)]}, {"Last fact"}),
    ],
)
def test_facts_but_the_last_are_left_out_of_a_mail_that_is_too_long(content: dict[str, Any], kept: set[str]) -> None:
    html = mail(rows=ROWS, **content).html
    assert {name for name in ("First fact", "Last fact") if name in html} == kept
    assert "Its evidence is below." in html


def test_nothing_stops_a_version_whose_gates_are_open() -> None:
    assert stopped_by([]) == ""
