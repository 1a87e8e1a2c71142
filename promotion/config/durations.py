"""Durations in `promotion.toml`."""

from __future__ import annotations

import re
from datetime import timedelta

from promotion.errors import Invalid

_DURATION = re.compile(r"(\d+)(m|h|d|w)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Parse `72h`, `30m`, `7d` or `2w` to a timedelta.

    Raises:
        Invalid: the text has another form.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise Invalid("", f"{text!r} is not a duration; write a number and m, h, d or w, such as 72h.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
