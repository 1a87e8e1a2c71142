"""The command itself: what it says without a command, with a wrong one, and to a reader that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from promotion import names
from promotion.cli import USAGE, main, reading, service
from promotion.cli.missing import NO_CREDENTIALS, NO_REGION
from tests.fakes import GROUP, FakeService, raises

ROOT = Path(__file__).parents[2]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return argparse's message when it ends the command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == USAGE
    return capsys.readouterr().err


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == USAGE
    assert "the model approved for an environment" in capsys.readouterr().err


def test_a_mistyped_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean status?" in refused(capsys, "statsu")


def test_a_word_like_no_command_gets_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean" not in refused(capsys, "xyzzy")


def test_a_mistyped_option_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean --json?" in refused(capsys, "status", "--jsno")


@pytest.mark.parametrize("arguments", [("--json", "gates"), ("gates", "--json")])
def test_json_is_taken_before_the_command_and_after_it(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    before = list(arguments)
    assert main([*before, "explain", "g", "dev"]) == USAGE
    assert '"field": "gates explain"' in capsys.readouterr().out


def test_a_profile_and_a_region_are_set_for_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "before")
    assert main(["--profile", "audit", "gates", "--region", "eu-central-1", "explain", "g", "dev"]) == USAGE
    assert os.environ["AWS_PROFILE"] == "audit"
    assert os.environ["AWS_DEFAULT_REGION"] == os.environ["AWS_REGION"] == "eu-central-1"
    assert "AWS_ACCESS_KEY_ID" not in os.environ, "a profile that is named wins"


AWS_PLACE = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")
AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@pytest.fixture
def a_new_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, file or server of AWS that has a region or credentials."""
    for name in (*AWS_PLACE, *AWS_KEYS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # The session of earlier tests has their credentials.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    service.client.cache_clear()


@pytest.mark.usefixtures("a_new_machine")
@pytest.mark.parametrize("arguments", [("status",), ("resolve", "g", "dev"), ("doctor",)])
def test_without_a_region_the_message_names_every_way_to_set_one(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"promotion: region: {NO_REGION}\n"


@pytest.mark.usefixtures("a_new_machine")
@pytest.mark.parametrize("arguments", [("status",), ("rollback", "g", "dev", "--reason", "r")])
def test_without_credentials_the_message_names_the_variables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    # boto3 itself reads AWS_DEFAULT_REGION alone.
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"promotion: credentials: {NO_CREDENTIALS}\n"
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-central-1"


def test_the_usage_of_gates_is_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert "usage: promotion gates explain [options] GROUP [VERSION] ENV\n" in refused(capsys, "gates")


@pytest.mark.parametrize("given", [("--metrics", "nowhere"), ("--metrics", "text", "--picture", "nowhere")])
def test_a_file_of_a_report_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("{}", encoding="utf-8")
    assert main(["report", "g", "dev", "1", *given]) == 1
    assert capsys.readouterr().err == "promotion: FILE: nowhere can't be read: No such file or directory.\n"


def test_a_package_that_is_not_installed_is_named_with_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'requests'", name="requests")

    monkeypatch.setattr(reading, "ledger", missing)
    assert main(["status"]) == 1
    said = "promotion: this command needs requests, which is not installed: pip install 'model-promotion[cli]'\n"
    assert capsys.readouterr().err == said


def test_an_internal_error_keeps_its_trace_and_an_error_of_aws_has_one_for_a_debugger_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ledger", raises(EndpointConnectionError(endpoint_url="https://dynamodb")))
    monkeypatch.delenv("PROMOTION_DEBUG", raising=False)
    assert main(["status"]) == 1
    assert capsys.readouterr().err.startswith("promotion: Could not connect to the endpoint URL")
    monkeypatch.setenv("PROMOTION_DEBUG", "1")
    with pytest.raises(EndpointConnectionError):
        main(["status"])
    monkeypatch.delenv("PROMOTION_DEBUG")
    for error in (ZeroDivisionError(), ModuleNotFoundError(name="promotion.cli.nothing")):
        monkeypatch.setattr(reading, "ledger", raises(error))
        with pytest.raises(type(error)):
            main(["status"])


def test_an_output_that_can_not_be_written_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = FakeService()
    fake.promote(1, "dev")
    monkeypatch.setattr(service, "ledger", lambda: fake.ledger)
    place = str(tmp_path / "nowhere" / "decision.json")
    assert main(["export", GROUP, fake.asked(1, "dev"), "--output", place]) == 1
    assert capsys.readouterr().err == f"promotion: FILE: {place} can't be opened: No such file or directory.\n"


def test_a_configuration_is_named_by_an_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.CONFIG, "before")
    assert main(["--config", "nowhere.toml", "gates", "explain", "g", "dev", "--metrics", "m.json"]) == 1
    assert "nowhere.toml" in capsys.readouterr().err


def test_from_source_the_version_is_not_that_of_a_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", raises(metadata.PackageNotFoundError()))
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == "model-promotion not installed: run from source\n"


def test_an_interrupted_command_ends_without_a_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "ledger", interrupted)
    assert main(["status"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["0", "-1", "v2", "1.0"])
def test_a_version_is_a_number_above_nought(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert f"'{text}' is not a version number." in refused(capsys, "rollback", "g", "prod", f"--to-version={text}")


def test_a_reader_that_has_gone_gets_no_trace() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "promotion.cli", "completion", "bash"]
    said = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, text=True, check=False)
    os.close(writing)
    assert (said.returncode, said.stderr) == (141, "")


def test_bash_completes_commands_and_their_options() -> None:
    script = subprocess.run(
        [sys.executable, "-m", "promotion.cli", "completion", "bash"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ask = 'COMP_WORDS=(promotion {0}); COMP_CWORD={1}; _promotion; echo "${{COMPREPLY[@]}}"'
    for words, place, found in (("sta", 1, "status"), ("--json history --c", 3, "--config --csv")):
        answer = subprocess.run(
            ["bash", "-c", f"{script}\n{ask.format(words, place)}"], capture_output=True, text=True, check=True
        )
        assert set(answer.stdout.split()) == set(found.split())
