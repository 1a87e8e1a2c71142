"""Messages of clients: what a role and a content may be, and where a wrong one is."""

from __future__ import annotations

from typing import Any

import pytest

from inference.decoders.messages import plain
from promotion.errors import Invalid


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("hello", "messages[0]"),
        ({"content": "hello"}, "messages[0].role"),
        ({"role": "critic", "content": "hello"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": 1}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}, "messages[0].content[1]"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "messages[0].tool_calls"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages[0].function_call"),
        ({"role": "assistant", "audio": {"id": "1"}}, "messages[0].audio"),
    ],
)
def test_a_wrong_message_is_refused_by_its_place(message: Any, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        plain(message, "messages[0]")
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        (
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "name": "ann", "content": "a\nb"},
        ),
        ({"role": "tool", "content": "7", "tool_calls": []}, {"role": "tool", "content": "7"}),
    ],
)
def test_a_message_becomes_one_text(message: dict[str, Any], text: dict[str, str]) -> None:
    assert plain(message, "messages[0]") == text
