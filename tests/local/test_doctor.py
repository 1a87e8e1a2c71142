"""`promotion doctor` finds nothing wrong with the local service: it answers each check as AWS would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from local.service import LocalService

ROOT = Path(__file__).resolve().parents[2]


def test_the_doctor_finds_no_fault_with_the_local_service() -> None:
    with LocalService(inference=False) as service:
        finished = subprocess.run(
            [sys.executable, "-m", "promotion.cli", "doctor", "--json"],
            cwd=ROOT,
            env={**os.environ, **service.environment()},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    checks = json.loads(finished.stdout)["checks"]
    assert [check for check in checks if check["state"] in ("fail", "not checked")] == []
    known = {check["check"]: check["state"] for check in checks}
    assert {known[name] for name in ("sender", "recipients", "quota", "CDK bootstrap", "ledger", "projections")} == {
        "ok"
    }
    assert finished.returncode == 0
