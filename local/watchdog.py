"""End the processes of the local service if it is killed. This is a script that reads pids from its stdin."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:  # stdin ends when the service ends, for any reason
        pid = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(pid)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
