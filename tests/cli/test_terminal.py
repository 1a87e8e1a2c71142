"""Texts of other people move no cursor of a terminal, hide no line and begin none."""

from __future__ import annotations

import csv
import io

import pytest

from promotion.cli import TROUBLE, main, reading, resolving
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.workflows import runs
from tests.fakes import GROUP, FakeService, a_run

HOSTILE = "gone\x1b[2J\x1b[H\rAll is well.\nApproved\x9b8m\u202e\u2066"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    found = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert [line for line in found if not line.isprintable()] == []
    return found


def test_a_history(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    runs.record_inference(GROUP, 1, a_run("dev", status="Failed", problem=HOSTILE), context=fake.context)
    monkeypatch.setattr(reading, "ledger", lambda: fake.ledger)
    assert main(["history", GROUP]) == 0
    shown = lines(capsys)
    assert len(shown) == len(fake.events())
    assert "All is well. Approved" in shown[-1] + shown[-2]


def test_the_history_of_a_group_that_nobody_knows_is_trouble(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reading, "ledger", lambda: FakeService().ledger)
    assert main(["history", "nobody"]) == TROUBLE
    assert "knows no model package group nobody" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["=HYPERLINK(1)", "+1", "-1", "@x"])
def test_no_reason_becomes_a_formula_in_a_spreadsheet(
    reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeService()
    fake.register(1)
    fake.decide(1, "dev", reason=reason)
    monkeypatch.setattr(reading, "ledger", lambda: fake.ledger)
    assert main(["history", GROUP, "--csv"]) == 0
    reasons = {row["verdict"]: row["reason"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert reasons["Approved"] == f"'{reason}"


def test_a_live_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    container = LiveContainer(
        image=HOSTILE, image_digest="", model_data_url=f"s3://m/{HOSTILE}", model_data_version_id=HOSTILE, sha256="",
        manifest_sha256="",
    )  # fmt: skip
    model = LiveModel(
        model_package_group=GROUP, model_package_version=1, model_package_arn=HOSTILE, environment="dev",
        containers=(container,), content_types=(), approved_by=(HOSTILE,), approved_at="", approval_id="", sequence=1,
        key_id="", record={},
    )  # fmt: skip
    monkeypatch.setattr(resolving, "resolve", lambda *_, **__: model)
    assert main(["resolve", GROUP, "dev"]) == 0
    assert len(lines(capsys)) == 7
    assert main(["resolve", GROUP, "dev", "--json"]) == 0
    assert lines(capsys) == ["{}"]
