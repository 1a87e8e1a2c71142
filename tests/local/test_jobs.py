"""SageMaker jobs run for real: their inputs, outputs, failures, and the stop."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.jobs.container import JobFailed
from local.jobs.transform import assembled, payloads
from local.service import LocalService
from tests.local.people import IMAGE, execution_role

BUCKET = "promotion-models"


@pytest.fixture(scope="module")
def role(service: LocalService) -> str:
    """An execution role that may do everything in S3."""
    return execution_role(service, "job")


def processing(service: LocalService, role: str, script: str, **extra: Any) -> str:
    """Starts a processing job that runs a line of Python, and returns its name."""
    name = f"job-{uuid.uuid4().hex[:8]}"
    service.session().client("sagemaker").create_processing_job(
        ProcessingJobName=name,
        RoleArn=role,
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["python", "-c", script]},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        **extra,
    )
    return name


def ended(service: LocalService, name: str) -> dict[str, Any]:
    """The description of a processing job once it is over."""
    describe = service.session().client("sagemaker").describe_processing_job

    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = describe(ProcessingJobName=name)
        return found if found["ProcessingJobStatus"] not in {"InProgress", "Stopping"} else None

    outcome = service.wait_for(over, seconds=900)
    assert outcome is not None
    return outcome


def test_a_processing_job_gets_its_inputs_and_its_outputs_are_kept(service: LocalService, role: str) -> None:
    s3 = service.session().client("s3")
    s3.put_object(Bucket=BUCKET, Key="jobs/in/a.txt", Body=b"hello")
    source = {"S3Uri": f"s3://{BUCKET}/jobs/in", "LocalPath": "/opt/ml/processing/input/in", "S3DataType": "S3Prefix"}
    target = {"S3Uri": f"s3://{BUCKET}/jobs/out", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    script = (
        "import os, pathlib, sys; source = pathlib.Path('/opt/ml/processing/input/in/a.txt').read_text(); "
        "pathlib.Path('/opt/ml/processing/output/b.txt').write_text(source.upper() + os.environ['MARK'])"
    )
    name = processing(
        service,
        role,
        script,
        Environment={"MARK": "!"},
        ProcessingInputs=[{"InputName": "in", "S3Input": source}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": target}]},
    )
    assert ended(service, name)["ProcessingJobStatus"] == "Completed"
    assert s3.get_object(Bucket=BUCKET, Key="jobs/out/b.txt")["Body"].read() == b"HELLO!"


@pytest.mark.parametrize(
    "right",
    [
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
        "ecr:GetAuthorizationToken",
        "ecr:BatchGetImage",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "cloudwatch:PutMetricData",
    ],
)
def test_a_job_fails_for_each_right_that_its_role_lacks(service: LocalService, right: str) -> None:
    role = execution_role(service, f"lacks-{right.replace(':', '-')}", without=right)
    service.session().client("s3").put_object(Bucket=BUCKET, Key="rights/in/a.txt", Body=b"hello")
    source = {"S3Uri": f"s3://{BUCKET}/rights/in", "LocalPath": "/opt/ml/processing/input", "S3DataType": "S3Prefix"}
    target = {"S3Uri": f"s3://{BUCKET}/rights/out", "LocalPath": "/opt/ml/processing/out", "S3UploadMode": "EndOfJob"}
    name = processing(
        service,
        role,
        "import pathlib; pathlib.Path('/opt/ml/processing/out/b.txt').write_text('b')",
        ProcessingInputs=[{"InputName": "in", "S3Input": source}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": target}]},
    )
    found = ended(service, name)
    assert found["ProcessingJobStatus"] == "Failed"
    reason = found["FailureReason"]
    assert reason.startswith("ClientError: ")
    assert (
        right in reason
        or reason == "ClientError: An error occurred (403) when calling the HeadObject operation: Forbidden"
    )


def test_a_containers_own_calls_are_judged_by_its_role(service: LocalService) -> None:
    script = (
        "import boto3, pathlib\n"
        "try: boto3.client('s3').put_object(Bucket='promotion-models', Key='own', Body=b'')\n"
        "except Exception as error: raise SystemExit(str(error))"
    )
    role = execution_role(service, "may-not-put", without="s3:PutObject")
    found = ended(service, processing(service, role, script))
    assert found["ProcessingJobStatus"] == "Failed"
    assert "s3:PutObject on resource: arn:aws:s3:::promotion-models/own" in found["FailureReason"]


def test_a_processing_job_that_ends_badly_says_why(service: LocalService, role: str) -> None:
    found = ended(service, processing(service, role, "raise SystemExit('no such thing')"))
    assert found["ProcessingJobStatus"] == "Failed"
    assert found["FailureReason"] == "AlgorithmError: the container ended, exit status 1: no such thing"


def test_the_last_words_of_a_container_are_kept_up_to_a_kilobyte(service: LocalService, role: str) -> None:
    script = "import pathlib; pathlib.Path('/opt/ml/output/message').write_text('Done: ' + 'x' * 2000)"
    assert ended(service, processing(service, role, script))["ExitMessage"] == "Done: " + "x" * 1018


def test_a_job_can_be_stopped(service: LocalService, role: str) -> None:
    name = processing(service, role, "import threading; threading.Event().wait()")
    sagemaker = service.session().client("sagemaker")
    assert sagemaker.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"] == "InProgress"
    sagemaker.stop_processing_job(ProcessingJobName=name)
    assert ended(service, name)["ProcessingJobStatus"] == "Stopped"


def test_a_jobs_name_is_used_once(service: LocalService, role: str) -> None:
    name = processing(service, role, "pass")
    ended(service, name)
    with pytest.raises(ClientError, match="already exists"):
        service.session().client("sagemaker").create_processing_job(
            ProcessingJobName=name,
            RoleArn=role,
            AppSpecification={"ImageUri": IMAGE},
            ProcessingResources={
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
        )


def test_an_artifact_that_cant_be_unpacked_fails_the_transform(service: LocalService, role: str) -> None:
    sagemaker, s3 = service.session().client("sagemaker"), service.session().client("s3")
    s3.put_object(Bucket=BUCKET, Key="jobs/broken.tar.gz", Body=b"not a tar")
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/jobs/broken.tar.gz"}
    sagemaker.create_model(ModelName="broken", ExecutionRoleArn=role, PrimaryContainer=container)
    sagemaker.create_transform_job(
        TransformJobName="broken",
        ModelName="broken",
        TransformInput={"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/jobs/in"}}},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/jobs/transformed"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )

    def failure() -> str:
        found = sagemaker.describe_transform_job(TransformJobName="broken")
        return str(found.get("FailureReason", ""))

    assert "can't be unpacked" in service.wait_for(failure)


MULTI = {"strategy": "MultiRecord", "most_bytes": 9}


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        (b"aaaa\nbbbb\ncccc\n", MULTI, [b"aaaa\nbbbb\n", b"cccc\n"]),
        (b"a\nb\nc", MULTI, [b"a\nb\nc\n"]),
        (b"a\n\nb\n", {"strategy": "SingleRecord", "most_bytes": 9}, [b"a\n", b"\n", b"b\n"]),
        (b"\n\na\n\n", MULTI, [b"\n\na\n\n"]),
        (b"a\nb\n", {"strategy": "MultiRecord", "most_bytes": 0}, [b"a\nb\n"]),
        (b"", MULTI, []),
    ],
)
def test_lines_fill_a_request_up_to_its_limit(content: bytes, settings: dict[str, Any], expected: list[bytes]) -> None:
    assert list(payloads(content, "Line", settings)) == expected


def test_a_record_larger_than_a_request_fails_the_job() -> None:
    with pytest.raises(JobFailed, match="MaxPayloadInMB"):
        list(payloads(b"0123456789", "Line", MULTI))


def test_a_newline_follows_each_answer_also_one_that_ends_in_a_newline() -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TransformOutput.html, AssembleWith."""
    assert assembled([b"1\n2\n", b"3"], "Line") == b"1\n2\n\n3\n"
