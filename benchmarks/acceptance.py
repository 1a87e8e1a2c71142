"""Findings of independent judges on the templates, and of `make accept` on the local service: a part of `deploy`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
JUDGED = ROOT / "build" / "outside" / "judges.json"


def figures() -> dict[str, Any]:
    """`variants`, `lint_errors`, `unexplained_findings`, `accept_steps`, `accept_passed` and `assumptions`."""
    return {**judged(), **accepted()}


def judged() -> dict[str, Any]:
    """Every variant, judged anew; a failure is in the figures."""
    JUDGED.unlink(missing_ok=True)
    # Unexplained findings end it with 1, and are counted below.
    subprocess.run([sys.executable, "outside/run.py", "--all", "judges"], cwd=ROOT, check=False, stdout=sys.stderr)
    said = json.loads(JUDGED.read_text(encoding="utf-8"))
    return {
        "variants": len(said["variants"]),
        "lint_errors": said["lint_errors"],
        "unexplained_findings": len(said["unexplained"]),
    }


def accepted() -> dict[str, Any]:
    """The acceptance, on a local service of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tools.accept", "--local", "--output", folder]
        subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
        said = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    return {
        "accept_steps": len(said["steps"]),
        "accept_passed": sum(step["state"] == "passed" for step in said["steps"]),
        "assumptions": {name: each["state"] for name, each in said["assumptions"].items()},
    }


def rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of docs/benchmarks/deploy.md."""
    return [
        ("Configurations whose templates are judged", f"{found['variants']}", "at least 8"),
        ("Errors of cfn-lint in them", f"{found['lint_errors']}", "0"),
        ("Findings of all judges that nothing explains", f"{found['unexplained_findings']}", "0"),
        (
            "Steps of `make accept` that pass on the local service",
            f"{found['accept_passed']} of {found['accept_steps']}",
            "all",
        ),
        ("Assumptions that `make accept` tries", f"{len(found['assumptions'])}", ""),
    ]
