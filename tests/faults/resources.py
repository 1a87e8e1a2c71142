"""Resources of a simulated service as the stack makes them: settings, tables, buckets, keys; and the end of a process."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import boto3

from inference.batch import storage
from lambdas.shared import dependencies, variables
from promotion import names
from tests.fakes import GROUP

URL = "https://promotion.example.com"
MODELS, EVIDENCE, ANCHORS = "promotion-models", "evidence", "anchors"
# What packages name: its tag is resolved at each registration.
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/hf:1"
WAKE, DEAD = "https://sqs/wake.fifo", "https://sqs/dead.fifo"
VERIFICATIONS = "https://sqs/verifications"
REGISTRATIONS, LATER = "https://sqs/registrations", "https://sqs/later"
RETRAINING = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/retrain"


@contextmanager
def settings(folder: Path) -> Iterator[dict[str, str]]:
    wanted = {
        names.CONFIG: names.CONFIG_FILE,
        "LAMBDA_TASK_ROOT": str(folder),
        names.PREFIX: names.DEFAULT_PREFIX,
        names.LEDGER_TABLE: "ledger",
        names.PROJECTIONS_TABLE: "projections",
        names.EVENT_BUS_NAME: "promotion",
        names.PUBLIC_URL: URL,
        names.CONFIGURATION_SET: "mails",
        names.WAKE_QUEUE_URL: WAKE,
        names.VERIFY_QUEUE_URL: VERIFICATIONS,
        names.DEAD_LETTER_QUEUE_URL: DEAD,
        names.ALARM_TOPIC_ARN: "arn:aws:sns:us-east-1:123456789012:alarms",
        names.REGISTRY_ROLE_ARN: "arn:aws:iam::123456789012:role/registry",
        names.RECORD_FUNCTION: "record",
        names.REGISTRATIONS_QUEUE_URL: REGISTRATIONS,
        names.LATER_QUEUE_URL: LATER,
        names.EVIDENCE_BUCKET: EVIDENCE,
        names.HASHING_ROLE_ARN: "arn:aws:iam::123456789012:role/hashing",
        names.INFERENCE_IMAGE: "inference:1",
        names.ANCHOR_BUCKET: ANCHORS,
        names.SIGNING_KEY_ARN: "",
        names.OWN_KEY_ARN: "",
        names.LINK_KEYS_SECRET_ARN: "",
        names.FORM_KEYS_SECRET_ARN: "",
        names.SIGN_IN_KEYS_SECRET_ARN: "",
        names.SESSION_KEY_ARN: "",
        names.IDENTITY_SECRET_ARN: "",
        "AWS_REGION": "us-east-1",
        "POWERTOOLS_SERVICE_NAME": "promotion",
        "POWERTOOLS_METRICS_NAMESPACE": "Promotion",
        "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield wanted
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def deploy(environment: dict[str, str]) -> None:
    text = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "board_pk", "board_sk")]
    key = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    board = [{"AttributeName": "board_pk", "KeyType": "HASH"}, {"AttributeName": "board_sk", "KeyType": "RANGE"}]
    dynamodb: Any = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="ledger", AttributeDefinitions=text, KeySchema=key, BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[{"IndexName": "board", "KeySchema": board, "Projection": {"ProjectionType": "ALL"}}],
    )  # fmt: skip
    dynamodb.create_table(
        TableName="projections", AttributeDefinitions=text[:2], KeySchema=key, BillingMode="PAY_PER_REQUEST"
    )
    for bucket in (MODELS, EVIDENCE, ANCHORS):
        boto3.client("s3").create_bucket(Bucket=bucket)
    boto3.client("sagemaker").create_model_package_group(ModelPackageGroupName=GROUP)
    definition = {"Version": "2020-12-01", "Steps": []}
    boto3.client("sagemaker").create_pipeline(
        PipelineName="retrain", ClientRequestToken="t" * 32, PipelineDefinition=json.dumps(definition),
        RoleArn="arn:aws:iam::123456789012:role/retrain",
    )  # fmt: skip
    push("first")
    kms = boto3.client("kms")
    for name in (names.SIGNING_KEY_ARN, names.OWN_KEY_ARN, names.SESSION_KEY_ARN):
        made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        os.environ[name] = made["KeyMetadata"]["Arn"]
    for name in (names.LINK_KEYS_SECRET_ARN, names.FORM_KEYS_SECRET_ARN, names.SIGN_IN_KEYS_SECRET_ARN):
        secret = boto3.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps({"key": name * 2}))
        os.environ[name] = secret["ARN"]
    variables.variables.cache_clear()


def push(body: str, image: str = IMAGE) -> str:
    """Push an image under a tag, as `docker push` does; return its digest."""
    repository, _, tag = image.partition("/")[2].partition(":")
    ecr = boto3.client("ecr")
    with suppress(ecr.exceptions.RepositoryAlreadyExistsException):
        ecr.create_repository(repositoryName=repository)
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": [{"digest": body}]})
    pushed = ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest)
    return str(pushed["image"]["imageId"]["imageDigest"])


def forget() -> None:
    """Clear all that a new process would not have."""
    from lambdas.handlers import on_projection_due, verify

    for module in (dependencies, variables, on_projection_due, verify):
        for found in vars(module).values():
            if hasattr(found, "cache_clear"):
                found.cache_clear()
    storage.client.cache_clear()


def function(module: str) -> Callable[[dict[str, Any], Any], Any]:
    handler: Callable[[dict[str, Any], Any], Any] = importlib.import_module(f"lambdas.handlers.{module}").handler
    return handler


@cache
def client(service: str) -> Any:
    make: Callable[..., Any] = boto3.client
    return make(service)
