"""`promotion status`: what is live, what waits, and what is wrong, in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from promotion.cli import reading
from promotion.config.loading import Config
from promotion.domain.model import EnvironmentState
from promotion.errors import Invalid
from promotion.ledger.events import OpenDifferences, RefusedMail
from tests.rules import scenarios
from tests.rules.scenario import Scenario


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    scenario = scenarios.in_trouble()

    def environments(unreadable: list[str]) -> Iterator[EnvironmentState]:
        return iter(scenario.view.environments.values())

    ledger = SimpleNamespace(
        environments=environments,
        view=scenario.ledger.view,
        versions=lambda group: list(scenario.view.versions.values()),
    )
    monkeypatch.setattr(reading, "ledger", lambda: ledger)
    monkeypatch.setattr(reading, "config", lambda: scenario.config)
    monkeypatch.setattr(reading, "config_of", lambda group: scenario.config)
    found = OpenDifferences(
        count=4, since=scenario.now, lines=("registry arn:1 status: expected Approved, found Rejected",)
    )
    monkeypatch.setattr(reading, "open_differences", lambda: {scenario.group: found})
    monkeypatch.setattr(reading, "refused_mail", lambda group: [])
    return scenario


def test_trouble_stands_beside_what_is_live(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    assert reading.status(None, as_json=False) == 0
    heading, dev, test, *_ = capsys.readouterr().out.splitlines()
    assert heading.split() == ["GROUP", "ENVIRONMENT", "LIVE", "SINCE", "BY", "WAITING", "TROUBLE"]
    found = scenario.view.environment("dev")
    assert found.broken_since is not None
    broken = f"{found.broken_since:%Y-%m-%d %H:%M}"
    drift = "drift since 2026-11-21 13:00, retraining started 2026-11-21 13:00"
    failed = f"run failed since {found.failed_since:%Y-%m-%d %H:%M}, endpoint failed since 2026-11-21 15:00"
    assert dev.split("  ")[-1].strip() == f"broken since {broken}, {failed}, {drift}"
    assert test.split()[-1] == "-"


def test_json_has_since_when_and_the_execution(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    reading.status(scenario.group, as_json=True)
    dev = json.loads(capsys.readouterr().out)[0]
    assert dev["drift_since"].startswith("2026-11-21T13:00")
    assert dev["retraining"].endswith("/execution/abc123def456")


def test_a_group_that_nobody_knows_is_trouble(scenario: Scenario) -> None:
    with pytest.raises(Invalid, match="knows no model package group nobody"):
        reading.status("nobody", as_json=False)


def test_a_group_whose_states_can_not_be_read_is_named_and_ends_with_1(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def environments(unreadable: list[str]) -> Iterator[EnvironmentState]:
        unreadable.append("churn")
        return iter(scenario.view.environments.values())

    monkeypatch.setattr(reading, "ledger", lambda: SimpleNamespace(environments=environments))
    for group, code in ((None, 1), ("churn", 1), (scenario.group, 0)):
        assert reading.status(group, as_json=True) == code
        said = "promotion: churn: its states can't be read: promotion verify churn\n" if code else ""
        assert capsys.readouterr().err == said


def test_open_differences_of_a_verification_are_told_with_the_first_of_them(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    reading.status(None, as_json=False)
    said = f"{scenario.group}: 4 differences since 2026-11-21 16:00, registry arn:1 status: expected Approved, found Rejected"
    assert said in capsys.readouterr().out
    reading.status(None, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["differences"]["count"] == 4


def test_a_person_whom_no_mail_reaches_is_named(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reading, "refused_mail", lambda group: refused(scenario, "dee@example.com", "Ann@example.com"))
    reading.status(None, as_json=False)
    said = f"{scenario.group}: SES refused mail to {{}} about v2 (2026-11-21 16:00): not verified"
    lines = capsys.readouterr().out.splitlines()
    assert said.format("dee@example.com") in lines, "the requester"
    assert said.format("Ann@example.com") in lines, "an approver"


def refused(scenario: Scenario, *addresses: str) -> list[RefusedMail]:
    return [
        RefusedMail(
            group=scenario.group, address=each, version=2, environment="dev", at=scenario.now, reason="not verified"
        )
        for each in addresses
    ]


def test_an_address_that_was_corrected_is_named_no_more(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reading, "refused_mail", lambda group: refused(scenario, "an@example.com"))
    reading.status(None, as_json=False)
    assert "an@example.com" not in capsys.readouterr().out

    def unknown(group: str) -> Config:
        raise Invalid("PROMOTION_CONFIG", "there is no file.")

    monkeypatch.setattr(reading, "config_of", unknown)
    reading.status(None, as_json=False)
    assert "SES refused mail to an@example.com" in capsys.readouterr().out


def test_the_last_closed_request_is_shown_if_none_is_pending(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = scenarios.rejected()

    def environments(unreadable: list[str]) -> Iterator[EnvironmentState]:
        return iter(refused.view.environments.values())

    monkeypatch.setattr(reading, "ledger", lambda: SimpleNamespace(environments=environments))
    monkeypatch.setattr(reading, "config", lambda: refused.config)
    monkeypatch.setattr(reading, "open_differences", dict)
    monkeypatch.setattr(reading, "refused_mail", lambda group: [])
    reading.status(None, as_json=False)
    assert " rejected 2026-11-20 " in capsys.readouterr().out
