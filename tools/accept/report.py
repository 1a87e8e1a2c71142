"""Report of an acceptance: its costs beforehand, its findings afterwards, as a file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from promotion import names
from promotion.rendering.documents.costs import price_list
from tools.accept.assumptions import Verdict
from tools.accept.world import World

# Instances of the two jobs, with AWS starting and stopping them. An approver's time is not in it.
RUN_MINUTES = 20


@dataclass(frozen=True)
class Step:
    """The result of a step."""

    name: str
    state: Literal["passed", "failed", "not tried"]
    found: str = ""
    do: str = ""
    seconds: float = 0.0


@dataclass
class Report:
    """The final report."""

    steps: list[Step] = field(default_factory=list)
    assumptions: Mapping[str, Verdict] = field(default_factory=dict)
    removed: Sequence[str] = ()
    stays: Sequence[str] = ()

    @property
    def passed(self) -> int:
        return sum(step.state == "passed" for step in self.steps)

    @property
    def ok(self) -> bool:
        """Return True if every step passed and no assumption failed."""
        return self.passed == len(self.steps) and all(each.state != "doesn't" for each in self.assumptions.values())


def price(world: World) -> str:
    """Cost of a run in a sentence, at the list prices that pages show."""
    wanted = world.config.inference
    known = [_hourly(wanted.instance_type), _hourly(wanted.score_instance_type)]
    machines = f"{wanted.instance_count} × {wanted.instance_type} and one {wanted.score_instance_type}"
    if None in known:
        return f"{machines}, about {RUN_MINUTES} minutes together: AWS's price list has what they cost"
    hours = RUN_MINUTES / 60 / 2
    usd = hours * (wanted.instance_count * (known[0] or 0.0) + (known[1] or 0.0))
    return (
        f"{machines}, about {RUN_MINUTES} minutes together: some USD {usd:.2f} at list prices of {price_list().region}"
    )


def _hourly(instance_type: str) -> float | None:
    return price_list().usd_per_hour.get(instance_type)


def beforehand(world: World) -> str:
    """Announcement of the steps, before they run."""
    return (
        f"Account {world.account}, {world.installation['region']}: registers two tiny models in a group of its own,\n"
        f"{world.group}, and takes one of them through {world.environment}.\n"
        f"Cost: one inference run on {price(world)}; else cents.\n"
        f"Time: 20 to 40 minutes, nearly all of it SageMaker's; and whoever approves has to click once.\n"
        f"It deletes what it makes. The ledger keeps the group's events for ever."
    )


def document(report: Report, world: World) -> dict[str, Any]:
    """The report as JSON, without the account's number."""
    said = {
        "release": names.RELEASE,
        "deployed_release": world.installation.get("release", ""),
        "region": world.installation["region"],
        "emulated": world.emulated,
        "instance_type": world.config.inference.instance_type,
        "accounts": 1 + len(set(world.config.cross_account.values())),
        "steps": [asdict(step) for step in report.steps],
        "assumptions": {name: asdict(verdict) for name, verdict in report.assumptions.items()},
        "seconds": world.took_s,
        "engine": dict(world.evidence.engine) if world.evidence is not None else {},
        "removed": list(report.removed),
        "stays": list(report.stays),
    }
    text = json.dumps(said, ensure_ascii=False)
    safe: dict[str, Any] = json.loads(redacted(text, world.account))
    return safe


def redacted(text: str, account: str) -> str:
    """The text without the account's number, and without addresses of people."""
    text = re.sub(rf"(?<!\d){re.escape(account)}(?!\d)", "<account>", text)
    return re.sub(r"[\w.+-]+@[\w-]+\.[\w.-]+\w", "<address>", text)


def lines(report: Report) -> list[str]:
    """The report for people."""
    said = [f"{step.state:<10} {step.name}: {f'{step.found} {step.do}'.strip()}".rstrip(": ") for step in report.steps]
    said += ["", "What only a live account can show:"]
    said += [
        f"{verdict.state:<14} {name}: {f'{verdict.found} {verdict.do}'.strip()}"
        for name, verdict in report.assumptions.items()
    ]
    said += ["", f"Removed: {len(report.removed)}. What stays:", *(f"  {each}" for each in report.stays)]
    counts = Counter(verdict.state for verdict in report.assumptions.values())
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    said += [
        "",
        f"{report.passed} of {len(report.steps)} steps passed; of {len(report.assumptions)} assumptions: {told}.",
    ]
    return said


def write(report: Report, world: World, folder: Path) -> Path:
    """The file to send back."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "report.json"
    place.write_text(json.dumps(document(report, world), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return place
