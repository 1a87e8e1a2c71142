"""A model that is live in dev with its artifact in S3, and the function that prepares its runs."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from msgspec.structs import replace

from lambdas.handlers import prepare_inference
from promotion.config.loading import Config
from tests.adapters.conftest import MODELS, Aws, prepares_runs_of
from tests.fakes import CONFIG, GROUP, FakeService, a_package

EVIDENCE = "evidence"
KEY = f"{GROUP}/model.tar.gz"
OURS = "1.dkr.ecr.eu-central-1.amazonaws.com/inference:7"
APPROVED = b"the bytes that were approved"
SETTINGS = {"execution_role_arn": "arn:aws:iam::123456789012:role/dev", "evidence_bucket": EVIDENCE}
PLACES = {name: f"s3://{MODELS}/{name}.jsonl" for name in ("input", "references")}


def live_in_dev(aws: Aws, monkeypatch: pytest.MonkeyPatch, config: Config = CONFIG, **about: Any) -> FakeService:
    """Make version 1 live in dev, described by `about`; its runs have an input in S3."""
    fake = FakeService(config)
    version = aws.s3.put_object(Bucket=MODELS, Key=KEY, Body=APPROVED)["VersionId"]
    [given] = a_package(1).containers
    url, sha256 = f"s3://{MODELS}/{KEY}", hashlib.sha256(APPROVED).hexdigest()
    held = replace(given, model_data_url=url, model_data_version_id=version, sha256=sha256)
    fake.register(1, containers=(held,), **about)
    fake.decide(1, "dev")
    fake.project()
    prepares_runs_of(fake, aws, monkeypatch, evidence=EVIDENCE, image=OURS)
    return fake


def run(**changes: Any) -> dict[str, Any]:
    """Prepare a run in dev; `changes` are fields of the event."""
    event = {"group": GROUP, "environment": "dev", "settings": SETTINGS, **PLACES, **changes}
    return prepare_inference.handler(event, None)
