"""A service that runs on moto, with version 1 live in dev, and the command beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from promotion.cli import main
from tests.fakes import GROUP, PREFIX
from tests.faults.command_service import service_for_command
from tests.faults.simulation import Simulation

LIVE = f"{PREFIX}/{GROUP}/dev/live"
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """Version 1 live in dev, everything projected, and the service where its parameter says."""
    with service_for_command(tmp_path, monkeypatch, live="dev") as made:
        # What differs is looked at again after a while.
        monkeypatch.setattr("promotion.cli.checking.time.sleep", lambda seconds: None)
        yield made


@pytest.fixture
def command(running: Simulation, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def tamper(name: str = LIVE, value: str = "{}") -> None:
    boto3.client("ssm").put_parameter(Name=name, Value=value, Overwrite=True)
