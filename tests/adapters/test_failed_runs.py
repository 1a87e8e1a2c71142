"""A failed run is counted by environment: the alarm of another account's environment stands on that number."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.handlers import on_inference_completed
from promotion import names


class Recorder:
    def record(self, command: Any) -> SimpleNamespace:
        return SimpleNamespace(sequence=7, note="")


def counted(said: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in said.splitlines() if "_aws" in line]
    return [line for line in lines if names.FAILED_RUNS_METRIC in line]


@pytest.mark.parametrize(("status", "count"), [("Failed", 1), ("Completed", 0)])
def test_a_failed_run_is_counted_by_its_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str, count: int
) -> None:
    # As the template sets it.
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "team-a-promotion")
    monkeypatch.setenv(names.PREFIX, "/team-a/promotion")
    monkeypatch.setattr(on_inference_completed, "recorder", Recorder)
    monkeypatch.setattr(on_inference_completed, "read_evidence", lambda report, reporter: SimpleNamespace(problem=""))
    detail = {"environment": "prod", "run_id": "r1", "status": status, "model_package_group": "summaries"}
    on_inference_completed.handler({"detail": detail}, None)
    found = counted(capsys.readouterr().out)
    assert len(found) == count
    for line in found:
        assert (line["environment"], line["service"]) == ("prod", "team-a-promotion")
        [dimensions] = line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
        assert set(dimensions) == {"environment", "service"}
