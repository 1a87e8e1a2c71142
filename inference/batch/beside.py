"""An executor with one interruptible thread in this process."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

_JOIN_SECONDS = 0.1


class Beside(Executor):
    """Compute in one thread, while another thread reads the next input and writes finished output."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._computing = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread; with `cancel_futures`, interrupt the payload in progress.

        If Python exits while torch computes on another thread, it aborts with exit code 134.
        """
        with suppress(Empty):
            while cancel_futures:
                if (waiting := self._work.get_nowait()) is not None:
                    waiting[0].cancel()
        self._work.put(None)
        while wait and self._thread.is_alive():
            if cancel_futures and self._computing:
                _interrupt(self._thread)
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        # A late interrupt can arrive between two payloads.
        with suppress(KeyboardInterrupt):
            while (one := self._work.get()) is not None:
                self._compute(*one)

    def _compute(self, future: Future[Any], work: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._computing = True
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            self._computing = False
            future.set_exception(error)
        else:
            self._computing = False
            future.set_result(found)


def _interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in `thread` at its next bytecode, as Ctrl-C does in the main thread."""
    number = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(KeyboardInterrupt))
