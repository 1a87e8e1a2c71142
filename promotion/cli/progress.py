"""The progress of a long command: one line on standard error, on a terminal only, removed when the command ends."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TypeVar

from promotion.formatting import one_line

Item = TypeVar("Item")
# A line more often than this is only flicker.
PAUSE_S = 0.1
EVERY = 100
CLEARED = "\r\x1b[K"


class Progress:
    """A line that is written over, between `with` and the end of its block; nothing where stderr is no terminal."""

    def __init__(self, command: str) -> None:
        """Begin without a line."""
        self._command = command
        self._shown = sys.stderr.isatty()
        self._last = 0.0

    def __enter__(self) -> Progress:
        """Return the progress itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Clear the line."""
        if self._shown and self._last:
            sys.stderr.write(CLEARED)
            sys.stderr.flush()

    def at(self, text: str) -> None:
        """Print the progress, at most once in a short time."""
        if not self._shown or time.monotonic() - self._last < PAUSE_S:
            return
        self._last = time.monotonic()
        line = one_line(f"{self._command}: {text}", max(20, shutil.get_terminal_size().columns - 1))
        sys.stderr.write(f"{CLEARED}{line}")
        sys.stderr.flush()

    def counting(self, items: Iterator[Item], what: str) -> Iterator[Item]:
        """Yield `items`, and say now and then how many there were."""
        for number, item in enumerate(items, 1):
            if number % EVERY == 0:
                self.at(f"{number:,} {what}")
            yield item
