"""A service that runs on moto, with version 1 live in dev, and the command beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from promotion.cli import main
from tests.fakes import GROUP, PREFIX
from tests.faults.commanded import commanded
from tests.faults.plant import Plant

LIVE = f"{PREFIX}/{GROUP}/dev/live"
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Version 1 live in dev, everything projected, and the service where its parameter says."""
    with commanded(tmp_path, monkeypatch, live="dev") as made:
        # What differs is looked at again after a while.
        monkeypatch.setattr("promotion.cli.checking.time.sleep", lambda seconds: None)
        yield made


@pytest.fixture
def command(running: Plant, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def tamper(name: str = LIVE, value: str = "{}") -> None:
    boto3.client("ssm").put_parameter(Name=name, Value=value, Overwrite=True)
