"""A simulated service with a version live, and the command that finds it by its parameter."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from lambdas.shared.dependencies import signer
from promotion import names
from promotion.aws.ledger_table import checking
from promotion.cli import service
from tests.fakes import PREFIX
from tests.faults import resources
from tests.faults.simulation import Simulation, simulation


@contextlib.contextmanager
def service_for_command(folder: Path, monkeypatch: pytest.MonkeyPatch, *, live: str) -> Iterator[Simulation]:
    """Make a service with version 1 live as far as the environment `live`, everything projected."""
    with simulation(folder) as made:
        made.register()
        made.settle()
        made.promote(1, live)
        made.inside = True
        known = {
            "api_url": resources.URL, "ledger_table": "ledger", "projections_table": "projections",
            "signing_key_arn": signer().key_id, "event_bus": "promotion", "region": "us-east-1",
            "wake_queue_url": resources.WAKE, "dead_letter_queue_url": resources.DEAD, "anchor_bucket": resources.ANCHORS,
            "evidence_bucket": resources.EVIDENCE,
        }  # fmt: skip
        boto3.client("ssm").put_parameter(Name=f"{PREFIX}/_service", Value=json.dumps(known), Type="String")
        monkeypatch.setenv(names.CONFIG, str(folder / names.CONFIG_FILE))
        monkeypatch.setattr(checking, "SETTLES_S", (0.0, 0.0, 0.0))  # nothing else writes here
        monkeypatch.setenv(names.PUBLIC_KEY, signer().public_key_pem())
        for cached in (service.client, service.installation):
            cached.cache_clear()
        yield made
        for cached in (service.client, service.installation):
            cached.cache_clear()
