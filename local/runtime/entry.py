"""Entry point of a function's process: awslambdaric with the local time. A script; arguments: handler, clock file."""

from __future__ import annotations

import datetime as dt
import sys
import time
from pathlib import Path
from typing import Any

import time_machine
from awslambdaric import __main__ as runtime
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient


class _Follower:
    """Set this process's time to the offset in a file, before each invocation."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0.0
        self._traveller: Any = time_machine.travel(dt.datetime.now(dt.UTC), tick=True).start()
        # As in local/clock.py, so that all processes have the same time.
        self._traveller.shift(time_machine.escape_hatch.time.time() - time.time())

    def follow(self) -> None:
        offset = float(self._file.read_text())
        if offset != self._offset:
            self._traveller.shift(dt.timedelta(seconds=offset - self._offset))
            self._offset = offset


def main() -> None:
    handler, clock_file = sys.argv[1:]
    # The script's own folder is removed from the path, so that the function can't import from it.
    sys.path[0] = str(Path.cwd())
    follower = _Follower(Path(clock_file))
    follower.follow()
    wait = LambdaRuntimeClient.wait_next_invocation

    def wait_next_invocation(self: Any) -> Any:
        invocation = wait(self)
        follower.follow()
        return invocation

    LambdaRuntimeClient.wait_next_invocation = wait_next_invocation
    runtime.main([sys.argv[0], handler])


if __name__ == "__main__":
    main()
