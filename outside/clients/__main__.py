"""`python -m outside.clients [NAME …]`: every published client in its own environment, against real server processes.

Each file of scripts/ is one client; outside/locks/NAME.txt names its packages with their hashes.
With all of them, `clients` and `clients_ok` go into build/bench/serving.json and docs/benchmarks/serving.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.compatibility import record
from outside.clients.proxy import proxy
from outside.clients.serving import served
from outside.environments import LOCKS, environment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SECONDS = 180
# Clients sign what they send; the proxy looks at no signature.
NOBODY = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the clients that are named, or all; returns 1 where one fails."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    known = sorted(path.stem.removesuffix("_client") for path in (HERE / "scripts").glob("*_client.py"))
    parser = argparse.ArgumentParser(prog="python -m outside.clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    names = parser.parse_args(arguments).names or known
    pythons = {name: environment(LOCKS / f"{name}.txt") for name in names}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        addresses = stack.enter_context(served(Path(scratch)))
        runtime = proxy({"decoder": int(addresses["DECODER"].rsplit(":", 1)[1])})
        stack.callback(runtime.shutdown)
        addresses["RUNTIME"] = f"http://127.0.0.1:{runtime.server_address[1]}"
        failed = [name for name in names if not passes(name, pythons[name], addresses)]
    if set(names) == set(known):
        named = ", ".join(name.replace("_", " ") for name in names)
        record({"clients": len(names), "clients_ok": len(names) - len(failed), "clients_named": named})
    logging.info("%d of %d clients pass", len(names) - len(failed), len(names))
    return int(bool(failed))


def passes(name: str, python: str, addresses: dict[str, str]) -> bool:
    """Return True if a client's script succeeds."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHON", "HF_"))}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [python, HERE / "scripts" / f"{name}_client.py"],
            env={**clean, **NOBODY, **addresses},
            timeout=SECONDS, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = done.stderr if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"not ended after {SECONDS} s\n"
    logging.info("%-20s %s  %.1f s", name, "failed" if said else "ok", time.monotonic() - began)
    if said:
        logging.info("%s", said[-3_000:])
    return not said


if __name__ == "__main__":
    sys.exit(main())
