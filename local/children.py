"""Processes of the local service: each has its own process group, and ends with the service."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

_WATCHDOG = Path(__file__).with_name("watchdog.py")
_GRACE_SECONDS = 10.0


class Ending(Exception):
    """The service is shutting down and starts no more processes."""


class Children:
    """Start and stop processes; a watchdog ends them if this process is killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._ending = False
        self._watchdog = subprocess.Popen(
            [sys.executable, "-S", str(_WATCHDOG)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def start(
        self,
        command: Sequence[str],
        *,
        environment: dict[str, str],
        directory: Path,
        log: IO[bytes] | int,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a process.

        Raises:
            Ending: `stop_all` has begun.
        """
        with self._lock:
            # Under the lock, so that no process is started while `stop_all` ends them.
            if self._ending:
                raise Ending(command[0])
            process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=environment,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running[process.pid] = process
            self._tell(f"+{process.pid}\n")
        return process

    def stop(self, process: subprocess.Popen[bytes], *, grace_seconds: float = 2.0) -> None:
        """SIGTERM, then SIGKILL to the whole group once `grace_seconds` are over."""
        if grace_seconds:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        self._end(process, time.monotonic() + grace_seconds)

    def _end(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._running.pop(process.pid, None)
            self._tell(f"-{process.pid}\n")

    def stop_all(self) -> None:
        """End every process and the watchdog: one SIGTERM, because a second would stop what the first one began."""
        with self._lock:
            self._ending = True
            running = list(self._running.values())
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in running:
            self._end(process, deadline)
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
        self._watchdog.wait()

    def _tell(self, line: str) -> None:
        stdin = self._watchdog.stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                stdin.write(line.encode())
                stdin.flush()


def plain_environment(**extra: str) -> dict[str, str]:
    """Return a child process's environment, without variables that would change which AWS it calls."""
    kept = (
        "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "LD_LIBRARY_PATH", "SYSTEMROOT",
        # Set by coverage.py, for the processes of functions and containers to be measured too.
        "COVERAGE_PROCESS_CONFIG",
    )  # fmt: skip
    return {name: os.environ[name] for name in kept if name in os.environ} | extra


def describe(process: subprocess.Popen[Any]) -> str:
    """Describe how a process ended, for a message."""
    code = process.poll()
    if code is None:
        return "still running"
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
