"""Waiting for results of the demo's service, and the error if there is none in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 300.0


class Unexpected(Exception):
    """A step of the demo failed; the message names it."""


def until(what: str, look: Callable[[], Any], patience_s: float = PATIENCE_S, pause_s: float = 0.1) -> Any:
    """Call `look` until it returns a result, and return that.

    Raises:
        Unexpected: there was no result in time.
    """
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Unexpected(f"waited {patience_s:.0f} s in vain for {what}.")
        time.sleep(pause_s)
    return found
