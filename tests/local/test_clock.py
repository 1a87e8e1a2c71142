"""The local time is real time plus the offset, in every process from its start on."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import time_machine

from local import clock
from local.clock import Clock

# What a shift of microseconds may round away.
ROUNDED = 0.001


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Clock]:
    """A clock whose process was held up for five seconds while it was made."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    stopped = SimpleNamespace(now=lambda zone: before)
    monkeypatch.setattr(clock, "dt", SimpleNamespace(datetime=stopped, UTC=dt.UTC, timedelta=dt.timedelta))
    made = Clock(tmp_path / "clock")
    yield made
    made.stop()


@pytest.mark.parametrize("ahead", [0.0, 3600.0])
def test_a_process_that_was_held_up_is_not_late(late: Clock, ahead: float) -> None:
    late.advance(ahead)
    real = time_machine.escape_hatch.time.time
    before = real()
    there = time.time() - ahead
    assert before - ROUNDED <= there <= real() + ROUNDED
    assert float(late.file.read_text()) == ahead
