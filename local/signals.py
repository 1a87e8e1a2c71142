"""Waiting for a signal, whichever thread the kernel gives it to."""

from __future__ import annotations

import signal
import socket
from typing import NoReturn


def wait() -> NoReturn:
    """Wait until the handler of a signal raises; call it in the main thread.

    `signal.pause` waits on if another thread is given the signal; services under load were seen to wait on in it.
    """
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    while True:
        woken.recv(1)
