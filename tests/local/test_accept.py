"""`make accept`: all of it passes on the local service, and whatever fails is reported with the rest cleaned up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes import CONFIG
from tools.accept import __main__ as acceptance
from tools.accept import report, steps
from tools.accept.assumptions import ASSUMPTIONS, Verdict, look
from tools.accept.world import Failed, World

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"


class Denied:
    """Clients that may do nothing."""

    def __init__(self, name: str) -> None:
        self.exceptions = self
        self.NotFoundException = KeyError

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)

        return call


def world(**more: Any) -> World:
    given: dict[str, Any] = {
        "config": CONFIG,
        "prefix": "/promotion",
        "installation": {
            "api_url": "https://promotion.example.com",
            "region": "us-east-1",
            "ledger_table": "ledger",
            "projections_table": "projections",
            "anchor_bucket": "anchors",
            "event_bus": "promotion",
            "inference_machines": {"dev": "arn"},
        },
        "client": Denied,
        "caller": f"arn:aws:iam::{ACCOUNT}:role/deployer",
        "group": "promotion-accept-1-Try",
        "approver": acceptance.Person(),
        "emulated": False,
        "public_key": "",
        "say": lambda _: None,
    }
    return World(**{**given, **more})


def test_every_step_passes_on_the_local_service(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tools.accept", "--local", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    said = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [step for step in said["steps"] if step["state"] != "passed"] == [], ran.stdout
    assert len(said["steps"]) == len(steps.STEPS) >= 13
    assert said["assumptions"].keys() == ASSUMPTIONS.keys()
    assert [name for name, each in said["assumptions"].items() if each["state"] == "doesn't"] == []
    assert ran.returncode == 0, ran.stderr
    assert "Cost: one inference run on 1 × ml.g5.xlarge" in ran.stdout
    assert "The ledger keeps" in ran.stdout
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert ACCOUNT not in text
    assert "@example.com" not in text
    group = next(step["found"] for step in said["steps"] if step["name"] == "make a group").partition(",")[0]
    left = [each for each in said["removed"] + said["stays"] if group.lower() in each.lower()]
    assert len(left) >= 3, "each thing that was made is gone or named"


def test_after_a_step_that_failed_nothing_more_is_tried_and_what_was_made_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached: list[str] = []

    def fails(_: World) -> str:
        raise Failed("it broke.", "Mend it.")

    def denied(_: World) -> str:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetItem")

    def passes(tried: World) -> str:
        reached.append("passes")
        return "done."

    def clean_up(_: World) -> tuple[list[str], list[str]]:
        reached.append("clean up")
        return ["the group"], ["the ledger"]

    monkeypatch.setattr(steps, "clean_up", clean_up)
    for failing in (fails, denied):
        reached.clear()
        monkeypatch.setattr(steps, "STEPS", {"a": passes, "b": failing, "c": passes})
        made = acceptance.accept(world())
        assert [step.state for step in made.steps] == ["passed", "failed", "not tried"]
        assert made.steps[1].do
        assert reached == ["passes", "clean up"]
        assert not made.ok


def test_every_assumption_is_answered_also_where_nothing_may_be_looked_at() -> None:
    found = look(world())
    assert found.keys() == ASSUMPTIONS.keys()
    assert {each.state for each in found.values()} == {"couldn't tell"}


@pytest.mark.parametrize(
    ("took_s", "state"), [(12.0, "holds"), (400.0, "doesn't")], ids=["sooner than the sweep", "later than the sweep"]
)
def test_a_registration_that_only_the_sweep_found_was_not_told_of(took_s: float, state: str) -> None:
    tried = world(took_s={"version 1 in the ledger": took_s})
    assert ASSUMPTIONS["EventBridge tells of a registration"](tried).state == state


def test_an_assumption_that_does_not_hold_fails_an_acceptance_whose_steps_all_passed() -> None:
    passed = report.Step("a", "passed")
    assert report.Report(steps=[passed], assumptions={"b": Verdict("couldn't tell", "")}).ok
    assert not report.Report(steps=[passed], assumptions={"b": Verdict("doesn't", "", "Mend it.")}).ok


def test_the_report_names_neither_account_nor_people() -> None:
    said = report.redacted(f"arn:aws:iam::{ACCOUNT}:role/x told ann.lee@example.com of run 1{ACCOUNT}", ACCOUNT)
    assert said == f"arn:aws:iam::<account>:role/x told <address> of run 1{ACCOUNT}"


def test_a_group_that_is_not_governed_is_refused_before_anything_is_made() -> None:
    from msgspec.structs import replace

    tried = world(config=replace(CONFIG, groups=("summaries",)))
    with pytest.raises(Failed, match="leaves out"):
        steps.find(tried)
    assert tried.made == []
