"""`make faults`: each call of each journey fails once in each way, and random lives run long; what doesn't survive is named.

Writes build/bench/faults.json: `faults_injected`, `faults_survived`, and those that were not.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.journeys import JOURNEYS, Outcome, every_fault

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench" / "faults.json"
FAKE_ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
MODEL_EXAMPLES = "2000"


def main() -> int:
    """Everything that can be cut is cut, then the rest of tests/faults and the model-based test run long."""
    begun = time.monotonic()
    figures = inject(step=1)
    print(f"{figures['faults_survived']} of {figures['faults_injected']} survived, {time.monotonic() - begun:.0f} s")
    for lost in figures["not_survived"]:
        print(f"  {lost['journey']}: {lost['call']} (call {lost['at']}) {lost['mode']}: {lost['problems'][0]}")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/faults", "tests/rules/test_model.py"],
        cwd=ROOT,
        env={**os.environ, "PROMOTION_MODEL_EXAMPLES": MODEL_EXAMPLES},
        check=False,
    )
    return 1 if figures["not_survived"] or tests.returncode else 0


def inject(*, step: int) -> dict[str, Any]:
    """Faults injected and survived, only every `step`-th; written to build/bench/faults.json when all of them are."""
    outcomes = list(_all(step))
    lost = [asdict(outcome) for outcome in outcomes if outcome.problems]
    figures = {
        "journeys": len({outcome.journey for outcome in outcomes}),
        "every": step,
        "faults_injected": len(outcomes),
        "faults_survived": len(outcomes) - len(lost),
        "not_survived": lost,
    }
    if step == 1:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def _all(step: int) -> Iterator[Outcome]:
    os.environ.update(FAKE_ACCOUNT)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=context) as pool:
        waiting = {pool.submit(_one, number, step): journey.name for number, journey in enumerate(JOURNEYS)}
        for done in as_completed(waiting):
            found = done.result()
            survived = sum(not outcome.problems for outcome in found)
            print(f"{waiting[done]}: {survived} of {len(found)} survived", flush=True)
            yield from found


def _one(number: int, step: int) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        return list(every_fault(Path(folder), JOURNEYS[number : number + 1], step=step))


if __name__ == "__main__":
    sys.exit(main())
