"""The Retry-After of a refused request, from what was answered lately."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from inference.serving import meter


@pytest.mark.parametrize(
    ("answered", "waiting", "seconds"),
    [((), 50, 1), ((5,), 50, 1), ((8, 9), 3, 3), ((8, 9), 0, 1), ((8, 9), 1_000, 30), ((-5, -4, 9), 50, 1)],
)
def test_a_refused_client_is_told_how_long_what_waits_will_take(
    monkeypatch: pytest.MonkeyPatch, answered: tuple[float, ...], waiting: int, seconds: int
) -> None:
    times = iter([*answered, 10.0, 10.0])
    monkeypatch.setattr(meter, "time", SimpleNamespace(monotonic=lambda: next(times)))
    counted = meter.Meter()
    for _ in answered:
        counted.done(200, 0.1)
    assert counted.retry_after(waiting) == seconds
