"""`promotion gates explain`: of a version in the ledger, and of a file that nobody has registered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promotion import names
from promotion.cli import main, service
from promotion.workflows import operations
from tests.fakes import CONFIG_TEXT, GROUP, OPERATOR, FakeService, a_package

GATES = """
[[environments.gates]]
licences = ["apache-2.0"]
[[environments.gates]]
requires = "model_card"
"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(service, "ledger", lambda: fake.ledger)
    monkeypatch.setattr(service, "config", lambda: fake.config)
    return fake


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose last gates, of prod, ask for a licence and a card; and no AWS to be had."""
    place = tmp_path / "promotion.toml"
    place.write_text(CONFIG_TEXT + GATES)
    monkeypatch.setenv(names.CONFIG, str(place))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    return tmp_path


def metrics(folder: Path, name: str, document: Any) -> str:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return str(folder / name)


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["gates", "explain", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_request_is_explained_as_it_was_judged(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    fake.register(1)
    fake.decide(1, "dev")
    fake.measure(1, "dev", 0.55)
    code, found = explained(capsys, GROUP, "1", "test")
    assert (code, found["open"], found["judged"]) == (5, False, "recorded")
    (gate,) = found["gates"]
    assert (gate["name"], gate["value"], gate["bound"]) == ("rougeL", 0.55, "at least 0.6")
    assert gate["margin"] == pytest.approx(-0.05)
    assert main(["gates", "explain", GROUP, "1", "test"]) == 5
    said = capsys.readouterr().out
    assert "FAILED  rougeL  0.55   at least 0.6  -0.05" in said
    assert "rougeL is 0.55; it has to be at least 0.6." in said


def test_open_gates_end_with_nought(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    fake.promote(1, "test")
    code, found = explained(capsys, GROUP, "1", "test")
    assert (code, found["open"]) == (0, True)


def test_a_version_that_has_not_asked_is_judged_on_the_run_before(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.promote(2)
    fake.promote(3, "dev")
    # Rolled back meanwhile: the run is recorded, and asks for nothing.
    fake.roll_back("dev", 2)
    fake.measure(3, "dev", 0.1)
    code, found = explained(capsys, GROUP, "3", "test")
    assert (code, found["judged"], found["live_version"]) == (5, "now", 2)
    code, found = explained(capsys, GROUP, "3", "prod")
    assert (code, found["gates"]) == (5, [])
    assert found["problem"] == "there is no evidence yet: no run in test has been recorded."


def test_a_version_that_was_adopted_into_the_first_environment_has_no_evidence_there(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.adopt(a_package(1), "dev", OPERATOR, "It served before.", context=fake.context)
    code, found = explained(capsys, GROUP, "1", "dev")
    assert (code, found["gates"]) == (5, [])
    assert (
        found["problem"]
        == "there is no evidence: its approval was never requested for dev, whose gates read the registered metrics."
    )


def test_without_evidence_the_gates_are_not_judged_and_without_gates_there_is_nothing_to_pass(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.register(1)
    assert main(["gates", "explain", GROUP, "1", "dev"]) == 0
    said = f"{GROUP} v1 into dev, on the registered metrics, as its request was judged:\n  no gates are set for dev\n"
    assert capsys.readouterr().out == said
    assert main(["gates", "explain", GROUP, "1", "test"]) == 5
    said = f"{GROUP} v1 into test: there is no evidence yet: no run in dev has been recorded.\n"
    assert capsys.readouterr().out == said


def test_a_version_that_nobody_knows_is_said(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    fake.register(1)
    code, found = explained(capsys, GROUP, "7", "dev")
    assert (code, found["field"]) == (1, "VERSION")


def test_a_file_is_judged_without_aws(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = metrics(settings, "good.json", {"rougeL": 0.7})
    live = metrics(settings, "live.json", {"rougeL": {"value": 0.74}})
    ask = ["--metrics", good, "--live", live, GROUP, "prod", "--licence", "Apache-2.0", "--attached", "model_card"]
    code, found = explained(capsys, *ask)
    assert (code, found["open"]) == (0, True)
    assert [gate["name"] for gate in found["gates"]] == ["rougeL", "rougeL against live", "licence", "model card"]
    code, found = explained(capsys, "--metrics", good, GROUP, "prod")
    assert code == 5
    assert {gate["name"] for gate in found["gates"] if not gate["open"]} == {"licence", "model card"}


@pytest.mark.parametrize(
    ("document", "said"), [("{", "is not JSON"), ("[]", "a JSON object"), ("[" * 100_000, "is not JSON")]
)
def test_a_file_that_is_no_metrics_document_is_refused(
    settings: Path, capsys: pytest.CaptureFixture[str], document: str, said: str
) -> None:
    code, found = explained(capsys, "--metrics", metrics(settings, "bad.json", document), GROUP, "prod")
    assert (code, found["field"]) == (1, "--metrics")
    assert said in found["message"]


def test_a_file_that_is_not_there_is_named_with_its_option(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = metrics(settings, "good.json", {"rougeL": 0.7})
    for given, field in ((["nowhere"], "--metrics"), ([good, "--live", "nowhere"], "--live")):
        code, found = explained(capsys, GROUP, "prod", "--metrics", *given)
        assert (code, found["field"]) == (1, field)
        assert found["message"] == f"{field}: nowhere can't be read: No such file or directory."


def test_metrics_of_another_task_shut_the_gate_by_being_missing(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = metrics(settings, "other.json", {"task": "zero-shot-classification", "metrics": {"accuracy": {"value": 1}}})
    assert main(["gates", "explain", "--metrics", other, GROUP, "test"]) == 5
    assert "rougeL is missing." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [GROUP, "dev"],
        [GROUP, "one", "dev"],
        [GROUP, "1", "dev", "more"],
        [GROUP, "1", "dev", "--metrics", "m.json"],
        [GROUP, "1", "dev", "--live", "m.json"],
    ],
)
def test_an_impossible_combination_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gates", "explain", *arguments]) == 2
    assert "gates explain" in capsys.readouterr().err
