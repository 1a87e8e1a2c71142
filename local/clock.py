"""The local time: real time plus an offset that only grows, the same in every process of the local service."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from pathlib import Path

import time_machine


class Clock:
    """Moves this process's time forward, and the other processes' through `file`.

    time.monotonic is not changed, so that internal waits and deadlines don't jump.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.offset_seconds = 0.0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[float], None]] = []
        self._travel = time_machine.travel(dt.datetime.now(dt.UTC), tick=True)
        self._traveller = self._travel.start()
        # time_machine's clock begins at its first read with the time of before, so it is late by what has passed since.
        self._traveller.shift(time_machine.escape_hatch.time.time() - time.time())
        self._write()

    def on_change(self, listener: Callable[[float], None]) -> None:
        """Call `listener` with the offset in seconds after each change."""
        self._listeners.append(listener)

    def advance(self, seconds: float) -> float:
        """Move time forward; return the whole offset in seconds.

        Raises:
            ValueError: `seconds` is negative, or more than ten years.
        """
        if not 0 <= seconds <= 10 * 365 * 86400:
            raise ValueError("advance_seconds must be from 0 to ten years' worth of seconds.")
        with self._lock:
            self.offset_seconds += seconds
            self._traveller.shift(dt.timedelta(seconds=seconds))
            self._write()
        for listener in self._listeners:
            listener(self.offset_seconds)
        return self.offset_seconds

    def _write(self) -> None:
        # Replaced atomically, so that a process that reads it at the same time sees a complete number.
        fresh = self.file.with_suffix(".new")
        fresh.write_text(repr(self.offset_seconds))
        fresh.replace(self.file)

    def stop(self) -> None:
        self._travel.stop()
