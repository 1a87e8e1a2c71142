"""The command itself: what it says without a command, with a wrong one, and to a reader that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from promotion.cli import USAGE, main

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
