"""Moto, patched: transactions, digests, jobs, schedules, packages and sessions are refused or kept as on AWS."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends
from moto.sqs.models import Queue

from local import ACCOUNT, REGION, moto_patches
from local.aws import callers
from local.moto_patches.model_monitor import schedules

ROLE = "arn:aws:iam::123456789012:role/execution"
SCHEDULE = "prompts-drift"
JOB_DEFINITION = {
    "MonitoringInputs": [
        {"BatchTransformInput": {"DataCapturedDestinationS3Uri": "s3://b/captured", "LocalPath": "/opt/ml/input",
                                 "DatasetFormat": {"Json": {"Line": True}}}},
    ],
    "MonitoringOutputConfig": {"MonitoringOutputs": [{"S3Output": {"S3Uri": "s3://b/out", "LocalPath": "/opt/ml/out"}}]},
    "MonitoringResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 20}},
    "MonitoringAppSpecification": {"ImageUri": "image:1"},
    "RoleArn": ROLE,
}  # fmt: skip


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    moto_patches.apply()
    with mock_aws():
        yield


def client(service: str) -> Any:
    return boto3.client(service, config=Config(retries={"total_max_attempts": 1}))  # type: ignore[call-overload]


def refused(call: Any, **given: Any) -> tuple[str, str]:
    """Return the code and the message of the error that a call ends with."""
    with pytest.raises(ClientError) as error:
        call(**given)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


# DynamoDB


@pytest.fixture
def table(aws: None) -> Any:
    """A table with the items `a` and `b`."""
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for name in ("a", "b"):
        dynamodb.put_item(TableName="t", Item={"pk": {"S": name}})
    return dynamodb


def put(name: str) -> dict[str, Any]:
    return {"Put": {"TableName": "t", "Item": {"pk": {"S": name}}}}


def of_key(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {kind: {"TableName": "t", "Key": {"pk": {"S": name}}, **more}}


def keys(dynamodb: Any) -> list[str]:
    return sorted(item["pk"]["S"] for item in dynamodb.scan(TableName="t")["Items"])


def test_a_transaction_deletes_and_a_condition_check_writes_nothing(table: Any) -> None:
    checked = of_key("ConditionCheck", "b", ConditionExpression="attribute_exists(pk)")
    table.transact_write_items(TransactItems=[of_key("Delete", "a"), checked])
    assert keys(table) == ["b"]


def test_a_condition_check_that_fails_cancels_the_transaction(table: Any) -> None:
    checked = of_key("ConditionCheck", "c", ConditionExpression="attribute_exists(pk)")
    code, _ = refused(table.transact_write_items, TransactItems=[of_key("Delete", "a"), checked])
    assert (code, keys(table)) == ("TransactionCanceledException", ["a", "b"])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([put(f"n{number}") for number in range(101)], "less than or equal to 100"),
        ([{**put("c"), **of_key("Delete", "a")}], "only contain one of"),
        ([put("a"), of_key("Delete", "a")], "multiple operations on one item"),
    ],
)
def test_a_transaction_that_dynamodb_refuses_writes_nothing(
    table: Any, items: list[dict[str, Any]], message: str
) -> None:
    code, text = refused(table.transact_write_items, TransactItems=items)
    assert (code, message in text, keys(table)) == ("ValidationException", True, ["a", "b"]), text


def test_transactions_without_a_token_are_all_written(table: Any) -> None:
    def remove_token(request: dict[str, Any], **_: Any) -> None:
        body = json.loads(request["body"])
        assert body.pop("ClientRequestToken")
        request["body"] = json.dumps(body).encode()

    table.meta.events.register("before-call.dynamodb.TransactWriteItems", lambda params, **_: remove_token(params))
    add = of_key("Update", "a", UpdateExpression="ADD n :one", ExpressionAttributeValues={":one": {"N": "1"}})
    for _ in range(2):
        table.transact_write_items(TransactItems=[add])
    assert table.get_item(TableName="t", Key={"pk": {"S": "a"}})["Item"]["n"] == {"N": "2"}


# KMS


@pytest.fixture
def key(aws: None) -> str:
    made = client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return str(made["KeyMetadata"]["KeyId"])


def test_a_signature_of_a_message_is_one_of_its_digest(key: str) -> None:
    kms, given = client("kms"), {"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(Message=b"text", **given)["Signature"]
    assert kms.verify(Message=b"text", Signature=signature, **given)["SignatureValid"]
    digest = hashlib.sha256(b"text").digest()
    assert kms.verify(Message=digest, MessageType="DIGEST", Signature=signature, **given)["SignatureValid"]


def test_a_signature_of_another_digest_is_invalid(key: str) -> None:
    kms, given = client("kms"), {"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256", "MessageType": "DIGEST"}
    signature = kms.sign(Message=b"1" * 32, **given)["Signature"]
    code, _ = refused(kms.verify, Message=b"2" * 32, Signature=signature, **given)
    assert code == "KMSInvalidSignatureException"


@pytest.mark.parametrize("length", [31, 33])
def test_a_digest_has_the_length_of_its_algorithm(key: str, length: int) -> None:
    given = {"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256", "MessageType": "DIGEST"}
    code, text = refused(client("kms").sign, Message=b"x" * length, **given)
    assert (code, text) == ("ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256.")


# SageMaker: jobs


def test_a_transform_job_needs_a_model_that_exists(aws: None) -> None:
    source = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/i"}}}
    given = {
        "TransformJobName": "job",
        "ModelName": "absent",
        "TransformInput": source,
        "TransformOutput": {"S3OutputPath": "s3://b/o"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    code, text = refused(client("sagemaker").create_transform_job, **given)
    assert (code, text) == ("ValidationException", 'Could not find model "absent".')


@pytest.mark.parametrize("kind", ["Transform", "Processing"])
def test_a_job_that_does_not_exist_is_not_stopped(kind: str) -> None:
    stop = getattr(client("sagemaker"), f"stop_{kind.lower()}_job")
    code, text = refused(stop, **{f"{kind}JobName": "absent"})
    assert (code, text) == ("ValidationException", f"Could not find {kind}Job absent.")


# SageMaker: Model Monitor


@pytest.fixture
def monitored(aws: None) -> Any:
    sagemaker = client("sagemaker")
    sagemaker.create_monitoring_schedule(**schedule())
    return sagemaker


def schedule(name: str = SCHEDULE, **config: Any) -> dict[str, Any]:
    return {
        "MonitoringScheduleName": name,
        "MonitoringScheduleConfig": config or {"MonitoringJobDefinition": JOB_DEFINITION},
    }


def test_a_schedule_is_described_until_it_is_deleted(monitored: Any) -> None:
    named = {"MonitoringScheduleName": SCHEDULE}
    found = monitored.describe_monitoring_schedule(**named)
    assert found["MonitoringScheduleStatus"] == "Scheduled"
    assert found["MonitoringScheduleConfig"]["MonitoringJobDefinition"] == JOB_DEFINITION
    assert "LastMonitoringExecutionSummary" not in found
    monitored.delete_monitoring_schedule(**named)
    code, text = refused(monitored.describe_monitoring_schedule, **named)
    assert (code, text) == ("ResourceNotFound", f"Monitoring Schedule {SCHEDULE} not found.")


def test_a_schedules_description_has_its_newest_execution(monitored: Any) -> None:
    now = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)
    backend = sagemaker_backends[ACCOUNT][REGION]
    for hours in (0, 1):
        schedules(backend)[SCHEDULE].execute(backend, now + dt.timedelta(hours=hours))
    newest = monitored.describe_monitoring_schedule(MonitoringScheduleName=SCHEDULE)["LastMonitoringExecutionSummary"]
    assert newest["ScheduledTime"] == now + dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (schedule(), "ResourceInUse", "exists"),
        (schedule("other", MonitoringJobDefinitionName="d"), "ValidationException", "needs its own job definition"),
    ],
)
def test_a_schedule_that_cannot_run_here_is_refused(
    monitored: Any, given: dict[str, Any], code: str, message: str
) -> None:
    found, text = refused(monitored.create_monitoring_schedule, **given)
    assert (found, message in text) == (code, True), text


# SageMaker: Model Registry

SPECIFICATION = {
    "Containers": [{"Image": "image:1"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["text/csv"],
}


@pytest.fixture
def package(aws: None) -> str:
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="scores")
    made = sagemaker.create_model_package(ModelPackageGroupName="scores", InferenceSpecification=SPECIFICATION)
    return str(made["ModelPackageArn"])


def test_an_update_adds_inference_specifications(package: str) -> None:
    sagemaker = client("sagemaker")
    added = {"Name": "gpu", "Containers": [{"Image": "image:2"}]}
    sagemaker.update_model_package(ModelPackageArn=package, AdditionalInferenceSpecificationsToAdd=[added])
    found = sagemaker.describe_model_package(ModelPackageName=package)
    assert found["AdditionalInferenceSpecifications"] == [added]
    assert found["InferenceSpecification"] == SPECIFICATION


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ModelApprovalStatus": "Maybe"}, "'Maybe' at 'modelApprovalStatus'"),
        ({"ApprovalDescription": "x" * 1025}, "less than or equal to 1024"),
        ({"ModelLifeCycle": {"Stage": "-prod", "StageStatus": "Approved"}}, "modelLifeCycle.Stage:"),
        ({"ModelLifeCycle": {"Stage": "prod", "StageStatus": "x" * 64}}, "modelLifeCycle.StageStatus:"),
        ({"CustomerMetadataProperties": {f"k{number}": "v" for number in range(51)}}, "at most 50 entries"),
    ],
)
def test_an_update_that_sagemaker_refuses_changes_nothing(package: str, given: dict[str, Any], message: str) -> None:
    sagemaker = client("sagemaker")
    before = sagemaker.describe_model_package(ModelPackageName=package)
    code, text = refused(sagemaker.update_model_package, ModelPackageArn=package, **given)
    assert (code, message in text) == ("ValidationException", True), text
    after = sagemaker.describe_model_package(ModelPackageName=package)
    assert {**after, "ResponseMetadata": 0} == {**before, "ResponseMetadata": 0}


def test_a_package_with_an_unknown_status_is_not_created(package: str) -> None:
    sagemaker = client("sagemaker")
    given = {"ModelPackageGroupName": "scores", "ModelApprovalStatus": "Maybe"}
    code, text = refused(sagemaker.create_model_package, **given)
    assert (code, "'Maybe' at 'modelApprovalStatus'" in text) == ("ValidationException", True), text
    assert len(sagemaker.list_model_packages(ModelPackageGroupName="scores")["ModelPackageSummaryList"]) == 1


def test_the_limits_of_an_update_are_inclusive(package: str) -> None:
    given: dict[str, Any] = {
        "ApprovalDescription": "x" * 1024,
        "ModelLifeCycle": {"Stage": "x" * 63, "StageStatus": "a--b"},
        "CustomerMetadataProperties": {f"k{number}": "v" for number in range(50)},
    }
    sagemaker = client("sagemaker")
    sagemaker.update_model_package(ModelPackageArn=package, **given)
    found = sagemaker.describe_model_package(ModelPackageName=package)
    assert {key: found[key] for key in given} == given


def test_entries_of_two_updates_count_together(package: str) -> None:
    sagemaker = client("sagemaker")
    for first, fits in ((0, True), (30, False)):
        given = {f"k{number}": "v" for number in range(first, first + 30)}
        if fits:
            sagemaker.update_model_package(ModelPackageArn=package, CustomerMetadataProperties=given)
        else:
            code, text = refused(
                sagemaker.update_model_package, ModelPackageArn=package, CustomerMetadataProperties=given
            )
            assert (code, "at most 50" in text) == ("ValidationException", True)


@pytest.mark.parametrize("operation", ["get_model_package_group_policy", "put_model_package_group_policy"])
def test_a_group_that_does_not_exist_has_no_policy(operation: str) -> None:
    policy = {"ResourcePolicy": "{}"} if operation.startswith("put") else {}
    code, text = refused(getattr(client("sagemaker"), operation), ModelPackageGroupName="absent", **policy)
    assert (code, text) == ("ValidationException", "Model Package Group absent does not exist.")


# SQS and STS


def test_a_message_that_arrives_during_a_wait_is_received(monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = client("sqs")
    url = sqs.create_queue(QueueName="wakes")["QueueUrl"]
    # Sent only once the receiver waits, so that its first look finds nothing.
    monkeypatch.setattr(
        Queue, "wait_for_messages", lambda queue, seconds: sqs.send_message(QueueUrl=url, MessageBody="late")
    )
    received = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    assert [message["Body"] for message in received] == ["late"]


@pytest.mark.parametrize(("given", "allowed"), [("dee", True), (None, True), ("eve", False)])
def test_a_chained_session_keeps_its_source_identity(given: str | None, allowed: bool) -> None:
    caller = callers.Caller(
        arn="arn:aws:sts::123456789012:assumed-role/first/s", principal_id="AROA", access_key="k", secret_key="s",
        role="first", source_identity="dee",
    )  # fmt: skip
    request = {"RoleArn": ROLE, "RoleSessionName": "second", **({"SourceIdentity": given} if given else {})}
    token = callers.current.set(caller)
    try:
        if allowed:
            assert client("sts").assume_role(**request)["SourceIdentity"] == "dee"
        else:
            code, text = refused(client("sts").assume_role, **request)
            assert (code, "can't be changed" in text) == ("ValidationError", True)
    finally:
        callers.current.reset(token)


# Without the local service: other tests use moto alone, in a process in which the patches are applied


def test_events_go_to_queues_without_the_local_service() -> None:
    sqs, events = client("sqs"), client("events")
    queue = sqs.create_queue(QueueName="q")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="all", EventPattern=json.dumps({"source": ["own"]}))
    events.put_targets(Rule="all", Targets=[{"Id": "q", "Arn": arn}])
    events.put_events(Entries=[{"Source": "own", "DetailType": "d", "Detail": "{}"}])
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["source"] == "own"


def test_endpoints_come_and_go_at_once_without_the_local_service() -> None:
    sagemaker = client("sagemaker")
    container = {"Image": "i", "ModelDataUrl": "s3://b/model.tar.gz"}
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    for name in ("one", "two"):
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="one")
    assert sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"
    sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    assert sagemaker.describe_endpoint(EndpointName="e")["EndpointConfigName"] == "two"
    sagemaker.delete_endpoint(EndpointName="e")
    assert sagemaker.list_endpoints()["Endpoints"] == []
