"""Run a command, print the minutes it took, and stop it at its limit.

`python tools/timed.py NAME [--house FIELD] [--limit MINUTES] -- COMMAND …` exits as the command does, and with 124 at its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1] / "build" / "house.json"
OUT_OF_TIME = 124
# Seconds for a test run to stop the servers and browsers that it started.
_GRACE_S = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument(
        "--house", metavar="FIELD", help="field of build/house.json for the minutes of a successful run"
    )
    parser.add_argument("--limit", type=float, metavar="MINUTES", help="stop it after this time")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    code = run(options.command, options.limit)
    minutes = (time.monotonic() - start) / 60
    ending = {0: "passed", OUT_OF_TIME: f"stopped at its limit of {options.limit} minutes"}.get(
        code, f"failed ({code})"
    )
    print(f"{options.name}: {ending}, {minutes:.1f} minutes", flush=True)
    if options.house and code == 0:
        record(options.house, round(minutes, 1))
    return code


def run(command: Sequence[str], limit: float | None) -> int:
    """Exit code of a command; OUT_OF_TIME if it was stopped at its limit, with all that it started."""
    if limit is None:
        return subprocess.run(command, check=False).returncode
    # A shell's background job inherits an ignored SIGINT, by which a test run could not be asked to clean up.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.default_int_handler)
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(limit * 60)
    except subprocess.TimeoutExpired:
        return OUT_OF_TIME
    finally:
        for sign in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)


def record(field: str, value: object) -> None:
    """Write one field of build/house.json, and leave the others."""
    HOUSE.parent.mkdir(exist_ok=True)
    with HOUSE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(HOUSE.read_text(encoding="utf-8")) if HOUSE.exists() else {}
        HOUSE.write_text(json.dumps({**known, field: value}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
