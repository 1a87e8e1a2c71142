"""`promotion rollback`, `revoke` and `report`: what the function `operate` is asked, and what its answer makes of the command."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from promotion.cli import REFUSED, TROUBLE, main, operating
from tests.fakes import GROUP

URL = "https://promotion.example.com"
WHY = ("--reason", "It stutters.")


class Function:
    """What stands behind the address: its answers have this status and body, and it keeps what came."""

    def __init__(self, status: int, body: str) -> None:
        self.status, self.body = status, body
        self.asked: list[dict[str, str]] = []

    def post(self, url: str, *, data: str, **_: Any) -> Any:
        self.asked.append(json.loads(data))
        return SimpleNamespace(status_code=self.status, reason="Bad", json=lambda: json.loads(self.body))


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Function:
    function = Function(200, '{"events": []}')
    monkeypatch.setattr(requests, "post", function.post)
    monkeypatch.setattr(operating, "installation", lambda: {"api_url": URL, "region": "us-east-1"})
    return function


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["rollback", GROUP, "prod"], {"operation": "rollback", "environment": "prod"}),
        (["rollback", GROUP, "prod", "--to-version", "3"],
         {"operation": "rollback", "environment": "prod", "to_version": "3"}),
        (["revoke", GROUP, "4"], {"operation": "revoke", "version": "4"}),
    ],
)  # fmt: skip
def test_an_operation_is_asked_with_the_version_that_was_named(
    function: Function, arguments: list[str], asked: dict[str, str]
) -> None:
    assert main([*arguments, *WHY]) == 0
    assert function.asked == [{"group": GROUP, "reason": "It stutters.", **asked}]


def test_a_refusal_is_printed_with_who_may(function: Function, capsys: pytest.CaptureFixture[str]) -> None:
    refusal = {"error": "not_operator", "message": "You are no operator.", "who_may": "Operations may."}
    function.status, function.body = 403, json.dumps(refusal)
    assert main(["revoke", GROUP, "4", *WHY]) == REFUSED
    assert capsys.readouterr().err == "promotion: You are no operator.\n           Operations may.\n"
    assert main(["revoke", GROUP, "4", *WHY, "--json"]) == REFUSED
    said = {"error": "not_operator", "message": "You are no operator."}
    assert json.loads(capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (502, "<html>", f"{URL}/operations answered with 502, not JSON."),
        (400, '{"message": "version: it is no number."}', "version: it is no number."),
        (503, "{}", "Bad"),
    ],
)
def test_an_answer_that_is_no_refusal_is_trouble(
    function: Function, capsys: pytest.CaptureFixture[str], status: int, body: str, said: str
) -> None:
    function.status, function.body = status, body
    assert main(["revoke", GROUP, "4", *WHY]) == TROUBLE
    assert capsys.readouterr().err == f"promotion: {said}\n"


def test_metrics_that_are_no_text_are_refused_before_anything_is_sent(
    function: Function, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics.json"
    metrics.write_bytes(b"\xff\xfe{\x00}\x00")
    assert main(["report", GROUP, "dev", "1", "--metrics", str(metrics)]) == TROUBLE
    assert capsys.readouterr().err == f"promotion: --metrics: {metrics} is no text in UTF-8.\n"
    assert function.asked == []
