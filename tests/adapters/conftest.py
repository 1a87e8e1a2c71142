"""AWS in this process: moto, mended where it differs (local/moto_patches), and nothing of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from lambdas.handlers import prepare_inference
from local import moto_patches
from local.moto_patches import sagemaker_endpoints as mended
from promotion import names
from promotion.aws.keys import KmsSigner
from promotion.aws.ledger_table.cursors import DynamoCursors
from promotion.aws.ledger_table.ledger import DynamoLedger

# Fixtures of the tests of this folder.
from tests.adapters.running import command as command
from tests.adapters.running import running as running
from tests.fakes import GROUP, PREFIX, FakeService

LEDGER, PROJECTIONS, ANCHORS, MODELS = "ledger", "projections", "anchors", "promotion-models"


@dataclass
class Aws:
    """Clients, and the tables as infra/storage.py makes them."""

    def client(self, service: str) -> Any:
        make: Callable[..., Any] = boto3.client
        return make(service, config=Config(retries={"total_max_attempts": 2}))

    @cached_property
    def dynamodb(self) -> Any:
        client = self.client("dynamodb")
        text = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "board_pk", "board_sk")]
        key = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
        board = [{"AttributeName": "board_pk", "KeyType": "HASH"}, {"AttributeName": "board_sk", "KeyType": "RANGE"}]
        client.create_table(
            TableName=LEDGER,
            AttributeDefinitions=text,
            KeySchema=key,
            BillingMode="PAY_PER_REQUEST",
            GlobalSecondaryIndexes=[
                {"IndexName": "board", "KeySchema": board, "Projection": {"ProjectionType": "ALL"}}
            ],
        )
        client.create_table(
            TableName=PROJECTIONS, AttributeDefinitions=text[:2], KeySchema=key, BillingMode="PAY_PER_REQUEST"
        )
        return client

    @cached_property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.dynamodb, LEDGER)

    @cached_property
    def cursors(self) -> DynamoCursors:
        return DynamoCursors(self.dynamodb, PROJECTIONS)

    @cached_property
    def ssm(self) -> Any:
        return self.client("ssm")

    @cached_property
    def s3(self) -> Any:
        client = self.client("s3")
        client.create_bucket(Bucket=MODELS)
        client.put_bucket_versioning(Bucket=MODELS, VersioningConfiguration={"Status": "Enabled"})
        client.create_bucket(Bucket=ANCHORS, ObjectLockEnabledForBucket=True)
        return client

    @cached_property
    def sagemaker(self) -> Any:
        client = self.client("sagemaker")
        client.create_model_package_group(ModelPackageGroupName=GROUP)
        return client

    @cached_property
    def signer(self) -> KmsSigner:
        kms = self.client("kms")
        key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        return KmsSigner(kms, key)


@pytest.fixture
def aws() -> Iterator[Aws]:
    moto_patches.apply()
    with mock_aws():
        yield Aws()


class SageMakerDriver:
    """A runner of endpoints that does nothing until the test says how a deployment ends."""

    def __init__(self) -> None:
        self.deploying: list[tuple[mended.Endpoint, str]] = []
        self.leaving: list[mended.Endpoint] = []

    def deploy(self, endpoint: mended.Endpoint, config_name: str) -> None:
        self.deploying.append((endpoint, config_name))

    def withdraw(self, endpoint: mended.Endpoint) -> None:
        self.leaving.append(endpoint)


@pytest.fixture
def hand() -> Iterator[SageMakerDriver]:
    hand = SageMakerDriver()
    mended.runners[:] = [hand]
    yield hand
    mended.runners.clear()


def prepares_runs_of(
    fake: FakeService, aws: Aws, monkeypatch: pytest.MonkeyPatch, *, evidence: str, image: str
) -> None:
    """Have `prepare_inference` run on a service in memory, with the input of a run in S3."""
    aws.client("s3").put_object(Bucket=MODELS, Key="input.jsonl", Body=b"{}\n")
    monkeypatch.setenv(names.EVIDENCE_BUCKET, evidence)
    monkeypatch.setenv(names.INFERENCE_IMAGE, image)
    for name, value in (
        ("client", aws.client),
        ("config", lambda: fake.config),
        ("ledger", lambda: fake.ledger),
        ("parameter_store", lambda purpose: fake.ssm),
        ("prefix", lambda: PREFIX),
        ("now", lambda: fake.now),
        ("public_key", lambda: fake.signer.public_key),
    ):
        monkeypatch.setattr(prepare_inference, name, value)
