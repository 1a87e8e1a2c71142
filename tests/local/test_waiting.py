"""Waiting for a result: the first looks come at once, later ones more rarely, because each costs the service a request."""

from __future__ import annotations

import itertools

import pytest

from local import waiting


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


@pytest.mark.parametrize(("there_after", "looks"), [(0.0, 1), (0.2, 5), (100.0, 140)])
def test_looks_are_rare_in_a_long_wait_and_a_result_is_found_soon(clock: Clock, there_after: float, looks: int) -> None:
    numbers = itertools.count(1)

    def look() -> int | None:
        number = next(numbers)
        return number if clock.now >= there_after else None

    assert waiting.until("it", look) <= looks
    assert clock.now - there_after <= min(max(0.05, there_after / 10), 1.0)


def test_a_wait_in_vain_says_for_what(clock: Clock) -> None:
    with pytest.raises(waiting.Unexpected, match=r"waited 20 s in vain for the mail\."):
        waiting.until("the mail", lambda: None, patience_s=20)
