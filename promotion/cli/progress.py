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
# More frequent updates would only flicker.
PAUSE_S = 0.1
EVERY = 100
CLEARED = "\r\x1b[K"


class Progress:
    """A line that is overwritten, inside a `with` block; nothing is printed if stderr is no terminal."""

    def __init__(self, command: str) -> None:
        """Make a progress that has printed no line yet."""
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
        """Print the progress, unless it was printed a short time ago."""
        if not self._shown or time.monotonic() - self._last < PAUSE_S:
            return
        self._last = time.monotonic()
        line = one_line(f"{self._command}: {text}", max(20, shutil.get_terminal_size().columns - 1))
        sys.stderr.write(f"{CLEARED}{line}")
        sys.stderr.flush()

    def counting(self, items: Iterator[Item], what: str) -> Iterator[Item]:
        """Yield `items`, and print their number from time to time."""
        for number, item in enumerate(items, 1):
            if number % EVERY == 0:
                self.at(f"{number:,} {what}")
            yield item
