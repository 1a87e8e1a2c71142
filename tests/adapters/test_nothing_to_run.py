"""A machine that finds no input reports it, and the service has it recorded; an older record runs nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.handlers import on_inference_completed
from promotion import names
from promotion.config.loading import parse
from promotion.workflows.commands import RecordUnmeasured
from tests.adapters.conftest import MODELS, Aws
from tests.adapters.prepared import live_in_dev, run
from tests.fakes import CONFIG_TEXT, GROUP, PREFIX


def test_no_input_is_reported_with_the_place_where_it_was_looked_for(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(CONFIG_TEXT.replace("[operators]", f'[inference]\nbucket = "{MODELS}"\n[operators]'))
    live_in_dev(aws, monkeypatch, config)
    found = run(input="", references="")
    assert (found["run"], found["unmeasured"]) == (False, True)
    report = found["report"]
    assert (report["status"], report["model_package_version"]) == (names.SKIPPED, 1)
    assert f"s3://{MODELS}/{GROUP}/dev/input.jsonl" in report["reason"]

    recorded: list[Any] = []

    class Recorder:
        def record(self, command: Any) -> Any:
            recorded.append(command)
            return SimpleNamespace(sequence=1, note="")

    monkeypatch.setattr(on_inference_completed, "config", lambda: config)
    monkeypatch.setattr(on_inference_completed, "recorder", Recorder)
    on_inference_completed.handler({"detail": report}, None)
    wanted = RecordUnmeasured(group=GROUP, environment="dev", version=1, reason=report["reason"])
    assert recorded == [wanted]


def test_a_record_that_was_put_back_runs_nothing(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.s3.create_bucket(Bucket="evidence")
    fake, live = live_in_dev(aws, monkeypatch), f"{PREFIX}/{GROUP}/dev/live"
    older = fake.ssm.values[live]
    assert run()["run"]
    fake.promote(2, to="dev")
    fake.project()
    fake.ssm.values[live] = older
    found = run()
    assert (found["run"], "unmeasured" in found) == (False, False)
    assert "a later one changed what is live" in found["reason"]
