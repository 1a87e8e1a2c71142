"""The waiting time of requests, without freeze windows, during which approvals are not possible."""

from __future__ import annotations

from datetime import datetime, timedelta

from promotion.config.loading import Config
from promotion.config.settings import FreezeWindow


def windows_of(config: Config, environment: str) -> list[FreezeWindow]:
    """The freeze windows of an environment, by their beginning."""
    found = [window for window in config.freeze if environment in (window.environments or (environment,))]
    return sorted(found, key=lambda window: window.start)


def after(start: datetime, length: timedelta, windows: list[FreezeWindow]) -> datetime:
    """Return when `length` has passed since `start` outside of `windows`, which are sorted by their beginning."""
    end = start + length
    for window in windows:
        begins = max(window.start, start)
        if begins < end and window.end > begins:
            end += window.end - begins
            start = window.end
    return end


def passed(start: datetime, end: datetime, windows: list[FreezeWindow]) -> timedelta:
    """Return the time from `start` to `end` outside of `windows`, which are sorted by their beginning."""
    length, seen = end - start, start
    for window in windows:
        begins, ends = max(window.start, seen), min(window.end, end)
        if ends > begins:
            length -= ends - begins
            seen = ends
    return length


def halfway(start: datetime, end: datetime, windows: list[FreezeWindow]) -> datetime:
    """Return when half of the time from `start` to `end` has passed outside of `windows`."""
    return after(start, passed(start, end, windows) / 2, windows)
