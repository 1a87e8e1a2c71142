"""A freeze stops the time of a request: nobody may approve then, so nobody is reminded and nothing expires."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from promotion import names
from promotion.config.loading import parse
from promotion.config.settings import FreezeWindow
from promotion.domain.freezes import after, passed
from promotion.workflows import decisions
from tests.fakes import BEGINNING, CONFIG_TEXT, FakeService

HOUR = timedelta(hours=1)


def window(start: int, end: int) -> FreezeWindow:
    return FreezeWindow(start=BEGINNING + start * HOUR, end=BEGINNING + end * HOUR)


@pytest.mark.parametrize(
    ("windows", "hours"),
    [
        ([], 10),
        ([window(2, 5)], 13),
        ([window(-5, 5)], 15),
        ([window(-5, -1)], 10),
        ([window(10, 20)], 10),
        ([window(2, 5), window(12, 14)], 15),
        ([window(2, 6), window(3, 5)], 14),
        ([window(2, 6), window(5, 8)], 16),
    ],
)
def test_ten_hours_outside_of_freezes_end_when_they_have_passed(windows: list[FreezeWindow], hours: int) -> None:
    assert after(BEGINNING, 10 * HOUR, windows) == BEGINNING + hours * HOUR
    assert passed(BEGINNING, BEGINNING + hours * HOUR, windows) == 10 * HOUR


def frozen(environments: str) -> FakeService:
    freeze = f"""
[[freeze]]
start = 2026-11-20T12:00:00Z
end = 2026-11-27T12:00:00Z
environments = {environments}
"""
    assert datetime(2026, 11, 20, 9, tzinfo=UTC) == BEGINNING
    fake = FakeService(parse(CONFIG_TEXT + freeze))
    fake.register(1)
    return fake


def test_nothing_is_reminded_or_expires_in_a_freeze() -> None:
    fake = frozen('["dev"]')
    dev = fake.view().environment("dev")
    told = []
    for _ in range(7 * 24 + 80):
        fake.later(hours=1)
        told += [(event.kind, fake.now - BEGINNING) for event in decisions.keep_time(dev, context=fake.context).events]
    week = timedelta(days=7)
    assert told == [(names.APPROVER_REMINDED, week + 36 * HOUR), (names.REQUEST_EXPIRED, week + 72 * HOUR)]


def test_a_freeze_of_another_environment_stops_no_time() -> None:
    fake = frozen('["prod"]')
    fake.later(hours=73)
    decisions.keep_time(fake.view().environment("dev"), context=fake.context)
    assert fake.status(1, "dev") == names.EXPIRED
