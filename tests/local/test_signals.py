"""A signal ends the wait of the main thread, whichever thread is given it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WAITING = """
import signal
import threading
from local import signals

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has jobs in the background ignore it
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    print("waiting", flush=True)
    signals.wait()
except KeyboardInterrupt:
    print("ended", flush=True)
"""


@pytest.mark.parametrize("takes", [min, max])
def test_a_signal_ends_the_wait(takes: Callable[[list[int]], int]) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        threads = [int(thread.name) for thread in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(threads) == 2
        while "sleeping" not in Path(f"/proc/{process.pid}/task/{process.pid}/status").read_text():
            os.sched_yield()
        assert ctypes.CDLL(None).tgkill(process.pid, takes(threads), signal.SIGINT) == 0
        assert process.stdout.readline() == "ended\n"
