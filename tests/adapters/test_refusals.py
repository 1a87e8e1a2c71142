"""Requests that AWS refuses and moto accepts: the mended moto refuses them, so that tests fail like a deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local import moto_patches
from local.aws import needs
from local.aws.operations import Operation
from local.moto_patches import pages
from local.runtime import envelope
from local.runtime.function import Outcome, Settings

ROLE = "arn:aws:iam::123456789012:role/execution"
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


@pytest.fixture
def sagemaker() -> Iterator[Any]:
    moto_patches.apply()
    with mock_aws():
        client = boto3.client("sagemaker", region_name="us-east-1")
        client.create_model(ModelName="model", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image:1"})
        yield client


def said(call: Any, **given: Any) -> str:
    """Return the error of a refused call; empty if it is not refused."""
    try:
        call(**given)
    except ClientError as error:
        return f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
    return ""


def transform(name: str, instance: str = "ml.m5.xlarge", *, key: str | None = None, **more: Any) -> dict[str, Any]:
    source = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/i"}}}
    resources: dict[str, Any] = {"InstanceType": instance, "InstanceCount": 1}
    return {
        "TransformJobName": name,
        "ModelName": "model",
        "TransformInput": source,
        "TransformOutput": {"S3OutputPath": "s3://b/o"},
        "TransformResources": {**resources, **({"VolumeKmsKeyId": key} if key else {})},
        **more,
    }


def processing(name: str, instance: str, key: str) -> dict[str, Any]:
    cluster = {"InstanceType": instance, "InstanceCount": 1, "VolumeSizeInGB": 30, "VolumeKmsKeyId": key}
    return {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image:1"},
        "ProcessingResources": {"ClusterConfig": cluster},
    }


@pytest.mark.parametrize(
    ("instance", "refused"), [("ml.g5.xlarge", True), ("ml.m5d.large", True), ("ml.m5.xlarge", False)]
)
def test_a_volume_of_an_instance_with_local_storage_takes_no_key(sagemaker: Any, instance: str, refused: bool) -> None:
    answers = [
        said(sagemaker.create_transform_job, **transform("t", instance, key=KEY)),
        said(sagemaker.create_processing_job, **processing("p", instance, KEY)),
        said(
            sagemaker.create_endpoint_config,
            EndpointConfigName="e",
            KmsKeyId=KEY,
            ProductionVariants=[
                {"VariantName": "v", "ModelName": "model", "InstanceType": instance, "InitialInstanceCount": 1}
            ],
        ),
    ]
    assert ["local storage" in answer for answer in answers] == [refused] * 3, answers


def test_a_transforms_payload_times_its_concurrency_is_at_most_100_mb(sagemaker: Any) -> None:
    create = sagemaker.create_transform_job
    assert "is greater than 100" in said(create, **transform("a", MaxPayloadInMB=6, MaxConcurrentTransforms=17))
    assert said(create, **transform("b", MaxPayloadInMB=5, MaxConcurrentTransforms=20)) == ""


def test_variables_are_counted(sagemaker: Any) -> None:
    many = {f"V{number}": "x" for number in range(101)}
    few = dict(list(many.items())[:16])
    assert "less than or equal to 16" in said(
        sagemaker.create_transform_job, **transform("a", Environment={**few, "V": "x"})
    )
    assert said(sagemaker.create_transform_job, **transform("b", Environment=few)) == ""
    container = {"Image": "image:1", "Environment": many}
    assert "or equal to 100" in said(
        sagemaker.create_model, ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container
    )


def test_an_identity_that_is_there_is_not_made_again(sagemaker: Any) -> None:
    create = boto3.client("sesv2", region_name="us-east-1").create_email_identity
    assert said(create, EmailIdentity="example.com") == ""
    assert said(create, EmailIdentity="example.com").startswith("AlreadyExistsException")


def test_a_target_bus_has_to_be_there_when_the_target_is_put(sagemaker: Any) -> None:
    events = boto3.client("events", region_name="us-east-1")
    events.put_rule(Name="rule", EventPattern=json.dumps({"source": ["promotion"]}))
    target = {"Id": "1", "Arn": "arn:aws:events:us-east-1:123456789012:event-bus/there", "RoleArn": ROLE}
    assert said(events.put_targets, Rule="rule", Targets=[target]).startswith("ResourceNotFoundException")
    events.create_event_bus(Name="there")
    assert said(events.put_targets, Rule="rule", Targets=[target]) == ""


def test_a_list_may_begin_with_an_empty_page(sagemaker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "first_is_empty", [True])
    for number in range(3):
        sagemaker.create_model_package_group(ModelPackageGroupName=f"group-{number}")
    first = sagemaker.list_model_package_groups(MaxResults=2)
    assert (first["ModelPackageGroupSummaryList"], bool(first["NextToken"])) == ([], True)
    found = [
        each["ModelPackageGroupName"]
        for page in sagemaker.get_paginator("list_model_package_groups").paginate(MaxResults=2)
        for each in page["ModelPackageGroupSummaryList"]
    ]
    assert sorted(found) == ["group-0", "group-1", "group-2"]
    models = [model for page in sagemaker.get_paginator("list_models").paginate() for model in page["Models"]]
    assert [model["ModelName"] for model in models] == ["model"]


def test_a_group_is_authorized_by_its_name_as_given(sagemaker: Any) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="Fraud-Scores")
    specification = {
        "Containers": [{"Image": "image:1"}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    arn = sagemaker.create_model_package(ModelPackageGroupName="Fraud-Scores", InferenceSpecification=specification)[
        "ModelPackageArn"
    ]
    assert arn.endswith("model-package/fraud-scores/1")
    for name, given, resource in (
        ("DescribeModelPackage", {"ModelPackageName": arn}, "model-package/Fraud-Scores/1"),
        ("UpdateModelPackage", {"ModelPackageArn": arn}, "model-package/Fraud-Scores/1"),
        ("CreateModelPackage", {"ModelPackageGroupName": "Fraud-Scores"}, "model-package/Fraud-Scores/*"),
        ("PutModelPackageGroupPolicy", {"ModelPackageGroupName": "Fraud-Scores"}, "model-package-group/Fraud-Scores"),
    ):
        (need, *_) = needs.of(Operation("sagemaker", name, given))
        assert need.resource.endswith(f":{resource}"), name


def test_an_event_that_lambda_gave_up_arrives_in_its_envelope() -> None:
    settings = Settings(
        "web", "arn:aws:lambda:us-east-1:123456789012:function:web", "lambdas.handlers.web.handler", ROLE, 3, 128, {}
    )
    failed = Outcome(b'{"errorMessage": "no"}', "Unhandled")
    record = json.loads(envelope.record(settings, b'{"detail": 1}', failed))
    assert record["requestPayload"] == {"detail": 1}
    assert record["responsePayload"] == {"errorMessage": "no"}
    assert record["requestContext"]["functionArn"] == f"{settings.arn}:$LATEST"
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["responseContext"]["functionError"] == "Unhandled"
