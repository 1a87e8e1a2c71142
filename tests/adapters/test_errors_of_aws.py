"""An error of AWS that no rule expects is raised: it is no missing object, no lost race and no refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from promotion import names
from promotion.aws import departures, kept
from promotion.aws.doctor import first_deployment, readiness
from promotion.aws.doctor.findings import Finding
from promotion.aws.ledger_table.checkpoints import CheckpointBuckets
from promotion.aws.ledger_table.cursors import DynamoCursors
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.aws.sagemaker.registry import RegistryTarget
from promotion.aws.sagemaker.sagemaker_endpoints import Endpoints
from promotion.client import folder_artifact
from promotion.client.artifact import Member
from promotion.client.resolve import check_artifact
from promotion.config.loading import parse
from tests.cli.doctor_account import account
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, PREFIX, FakeService
from tests.faults.fault import made_to_fail

URL, SHA256 = "s3://models/folder/", "0" * 64
NAMED = parse(
    CONFIG_TEXT
    + """
[artifacts]
buckets = ["models"]
keys = ["arn:aws:kms:us-east-1:123456789012:key/models"]
[advanced.web]
domain_name = "promotion.example.com"
certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/one"
[advanced.inference]
subnets = ["subnet-1"]
security_groups = ["sg-1"]
[advanced.environments.dev]
execution_role = "arn:aws:iam::123456789012:role/dev"
"""
)


def broken(service: str) -> Any:
    """A client of a service that answers each call with an error of its own."""
    make: Callable[..., Any] = boto3.client
    client = make(service)

    def fails(model: Any, **_: Any) -> None:
        raise made_to_fail("InternalFailure", model.name)

    client.meta.events.register("before-call", fails)
    return client


def registered() -> Any:
    fake = FakeService()
    fake.register(1)
    return fake.view().version(1)


def endpoints() -> Endpoints:
    return Endpoints(broken("sagemaker"), broken("cloudwatch"), PREFIX, "dev")


CALLS: dict[str, Callable[[], object]] = {
    "the service's parameter": lambda: departures.left_behind(CONFIG, broken, PREFIX),
    "a retained table": lambda: kept.find("ledger", broken),
    "a checkpoint": lambda: CheckpointBuckets(broken("s3"), "evidence", "anchors").read(GROUP),
    "a cursor": lambda: DynamoCursors(broken("dynamodb"), "projections").advance(GROUP, names.MAIL, 1),
    "an attestation to read": lambda: EvidenceBucket(broken("s3"), "evidence").text("key"),
    "an attestation to write": lambda: EvidenceBucket(broken("s3"), "evidence").put_once("key", {}),
    "a package": lambda: RegistryTarget(lambda identity: broken("sagemaker"), ["dev"]).found(registered()),
    "an endpoint": lambda: endpoints().find("promotion-dev"),
    "a list of objects": lambda: folder_artifact.read_object_list(broken("s3"), "evidence", SHA256),
    "where the list is": lambda: folder_artifact.find_object_list(broken("ssm"), broken("s3"), PREFIX, SHA256),
    "an approved object": lambda: [*folder_artifact.object_chunks(broken("s3"), URL, Member("a", 1, SHA256))],
    "a folder": lambda: folder_artifact.check_newest(broken("s3"), URL, SHA256, None, lambda count: None),
    "an artifact": lambda: check_artifact("s3://models/model.tar.gz", "", SHA256, s3=broken("s3")),
}
CHECKS: tuple[Callable[..., Iterator[Finding]], ...] = (
    first_deployment.keys,
    first_deployment.domain,
    first_deployment.network,
    first_deployment.roles,
    readiness.artifacts,
)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_error_of_aws_itself_is_raised(call: Callable[[], object]) -> None:
    with pytest.raises(ClientError, match="InternalFailure"):
        call()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_check_of_doctor_does_not_take_it_for_something_missing(check: Callable[..., Iterator[Finding]]) -> None:
    with pytest.raises(ClientError, match="InternalFailure"):
        list(check(account(NAMED, client=broken)))
