"""Waiting for results of the demo's service, and the error if there is none in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 300.0


class Unexpected(Exception):
    """A step of the demo failed; the message names it."""


def pause_after(waited_s: float) -> float:
    """Return the seconds until the next look: a tenth of the wait so far, so that looking takes little of the processor."""
    return min(max(0.05, waited_s / 10), 1.0)


def until(what: str, look: Callable[[], Any], patience_s: float = PATIENCE_S, pause_s: float | None = None) -> Any:
    """Call `look` until it returns a result, and return that.

    Raises:
        Unexpected: there was no result in time.
    """
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        if waited > patience_s:
            raise Unexpected(f"waited {patience_s:.0f} s in vain for {what}.")
        time.sleep(pause_after(waited) if pause_s is None else pause_s)
    return found
