"""Ids of approval requests: group, version, environment and attempt."""

from __future__ import annotations

from promotion.errors import Invalid


def request_id(group: str, version: int, environment: str, attempt: int) -> str:
    """The id of a request; none of its parts can contain a colon."""
    return f"{group}:{version}:{environment}:{attempt}"


def parse_request_id(text: str) -> tuple[str, int, str, int]:
    """Group, version, environment and attempt of a request id.

    Raises:
        Invalid: it has another form.
    """
    parts = text.split(":")
    if len(parts) != 4 or not parts[1].isdecimal() or not parts[3].isdecimal():
        raise Invalid("request_id", f"{text[:80]!r} is not group:version:environment:attempt.")
    return parts[0], int(parts[1]), parts[2], int(parts[3])
