"""A machine that finds no input reports it, and the service has it recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.handlers import on_inference_completed, prepare_inference
from promotion import names
from promotion.config.loading import parse
from promotion.workflows.commands import RecordUnmeasured
from tests.fakes import CONFIG_TEXT


def test_no_input_is_reported_with_the_place_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIG_TEXT.replace("[operators]", '[inference]\nbucket = "models"\n[operators]')
    model = SimpleNamespace(model_package_group="news", model_package_version=3, environment="dev", sequence=7)
    monkeypatch.setattr(prepare_inference, "config", lambda: parse(text))
    for name in ("client", "parameter_store"):
        monkeypatch.setattr(prepare_inference, name, lambda *_: None)
    for name in ("public_key", "prefix"):
        monkeypatch.setattr(prepare_inference, name, lambda: "")
    monkeypatch.setattr(prepare_inference, "resolve", lambda *_, **__: model)
    monkeypatch.setattr(prepare_inference, "_is_older", lambda _: False)
    view = SimpleNamespace(find_version=lambda _: None)
    monkeypatch.setattr(prepare_inference, "ledger", lambda: SimpleNamespace(view=lambda _: view))
    monkeypatch.setattr(prepare_inference, "_exists", lambda _: False)
    found = prepare_inference.handler({"group": "news", "environment": "dev"}, None)
    assert (found["run"], found["unmeasured"]) == (False, True)
    report = found["report"]
    assert (report["status"], report["model_package_version"]) == (names.SKIPPED, 3)
    assert "s3://models/news/dev/input.jsonl" in report["reason"]

    recorded: list[Any] = []

    class Recorder:
        def record(self, command: Any) -> Any:
            recorded.append(command)
            return SimpleNamespace(sequence=1, note="")

    monkeypatch.setattr(on_inference_completed, "config", lambda: parse(text))
    monkeypatch.setattr(on_inference_completed, "recorder", Recorder)
    on_inference_completed.handler({"detail": report}, None)
    wanted = RecordUnmeasured(group="news", environment="dev", version=3, reason=report["reason"])
    assert recorded == [wanted]
