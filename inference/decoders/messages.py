"""Normalize clients' messages: one text each, and the roles of chat templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promotion.errors import Invalid

ROLES = ("system", "user", "assistant", "tool")


def plain(message: Any, place: str) -> dict[str, str]:
    """Return one message with its content as a text. OpenAI's `developer` becomes `system`; an assistant's may be empty.

    Raises:
        Invalid: no message, an unknown role, or content that is not text; the error names its place.
    """
    if not isinstance(message, Mapping):
        raise Invalid(place, "must be a message with role and content.")
    role = "system" if message.get("role") == "developer" else message.get("role")
    if role not in ROLES:
        raise Invalid(f"{place}.role", f"must be one of {', '.join(ROLES)} or developer.")
    for name in ("tool_calls", "function_call", "audio"):
        if message.get(name):
            raise Invalid(f"{place}.{name}", "is not taken: this server calls no tools, and reads texts only.")
    content = message.get("content")
    if content is None and role == "assistant":
        content = ""
    if isinstance(content, list):
        content = "\n".join(_part(part, f"{place}.content[{number}]") for number, part in enumerate(content))
    if not isinstance(content, str):
        raise Invalid(f"{place}.content", "must be a text, or a list of parts of type text.")
    author = message.get("name")
    return {"role": role, "content": content, **({"name": author} if isinstance(author, str) else {})}


def _part(part: Any, place: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise Invalid(place, f"has the type {str(kind)[:40]!r}, and this model reads parts of type text only.")
