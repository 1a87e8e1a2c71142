"""A service that runs on moto, with version 1 live in dev, and the command beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from lambdas.shared.dependencies import signer
from promotion import names
from promotion.cli import main, service
from tests.fakes import GROUP, PREFIX
from tests.faults import ground
from tests.faults.plant import Plant, plant

LIVE = f"{PREFIX}/{GROUP}/dev/live"
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Version 1 live in dev, everything projected, and the service where its parameter says."""
    with plant(tmp_path) as made:
        made.register()
        made.settle()
        made.climb(1, "dev")
        made.inside = True
        known = {
            "api_url": ground.URL, "ledger_table": "ledger", "projections_table": "projections",
            "signing_key_arn": signer().key_id, "event_bus": "promotion", "region": "us-east-1",
            "wake_queue_url": ground.WAKE, "dead_letter_queue_url": ground.DEAD, "anchor_bucket": ground.ANCHORS,
            "evidence_bucket": ground.EVIDENCE,
        }  # fmt: skip
        boto3.client("ssm").put_parameter(Name=f"{PREFIX}/_service", Value=json.dumps(known), Type="String")
        monkeypatch.setenv(names.CONFIG, str(tmp_path / names.CONFIG_FILE))
        monkeypatch.setenv(names.PUBLIC_KEY, signer().public_key_pem())
        # What differs is looked at again after a while.
        monkeypatch.setattr("promotion.cli.checking.time.sleep", lambda seconds: None)
        for cached in (service.client, service.installation):
            cached.cache_clear()
        yield made
        for cached in (service.client, service.installation):
            cached.cache_clear()


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
