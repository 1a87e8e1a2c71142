"""SageMaker pipelines on one machine: what AWS refuses is refused, and a token starts one execution."""

from __future__ import annotations

import json
from collections.abc import Iterator
from queue import Queue
from threading import Event
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local import moto_patches
from local.jobs.pipelines import PipelineExecutor, StepFailed, filled, in_order, register
from local.moto_patches import jobs, pipelines
from local.moto_patches.jobs import Job
from local.moto_patches.pipelines import Execution
from tests.local.people import IMAGE, execution_role_by

DEFINITION = {
    "Version": "2020-12-01",
    "Parameters": [{"Name": "Group", "Type": "String"}, {"Name": "Seconds", "Type": "String", "DefaultValue": "5"}],
    "Steps": [],
}
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def sagemaker() -> Iterator[Any]:
    moto_patches.apply()
    with mock_aws():
        client = boto3.client("sagemaker")
        client.create_pipeline(
            PipelineName="retrain",
            ClientRequestToken=TOKEN,
            PipelineDefinition=json.dumps(DEFINITION),
            RoleArn="arn:aws:iam::123456789012:role/retrain",
        )
        yield client


def start(sagemaker: Any, **given: Any) -> str:
    name = given.pop("name", "retrain")
    parameters = [{"Name": key, "Value": value} for key, value in given.items()]
    arn: str = sagemaker.start_pipeline_execution(
        PipelineName=name, ClientRequestToken=TOKEN, PipelineParameters=parameters
    )["PipelineExecutionArn"]
    return arn


def test_a_pipeline_is_found_by_name_or_arn_and_a_token_starts_it_once(sagemaker: Any) -> None:
    arn = sagemaker.describe_pipeline(PipelineName="retrain")["PipelineArn"]
    assert start(sagemaker, Group="g") == start(sagemaker, name=arn, Group="g")
    assert len(sagemaker.list_pipeline_executions(PipelineName="retrain")["PipelineExecutionSummaries"]) == 1


@pytest.mark.parametrize(("given", "said"), [({"Group": "g", "Who": "x"}, "no parameters named Who"), ({}, "Group")])
def test_parameters_are_those_of_the_definition(sagemaker: Any, given: dict[str, str], said: str) -> None:
    with pytest.raises(ClientError, match=said):
        start(sagemaker, **given)


def test_a_pipeline_that_is_not_there_is_not_started(sagemaker: Any) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        start(sagemaker, name="retain", Group="g")


def test_an_execution_that_fails_has_the_first_kilobyte_of_the_reason(
    sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(arn: str) -> tuple[str, str | None]:
        found = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        return found["PipelineExecutionStatus"], found.get("FailureReason")

    def run(_: Any, execution: Execution, parameters: dict[str, str]) -> None:
        assert described(execution.arn) == ("Executing", None)
        execution.fail(f"Group {parameters['Group']} " + "x" * 2000)

    monkeypatch.setattr(pipelines, "runners", [run])
    assert described(start(sagemaker, Group="g")) == ("Failed", "Group g " + "x" * 1016)


def test_a_step_registers_a_model_and_makes_its_group(sagemaker: Any) -> None:
    request = {
        "ModelPackageGroupName": "stepped",
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [{"Image": "image:1"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    }
    for _ in range(2):
        register(sagemaker, request)
    found = sagemaker.list_model_packages(ModelPackageGroupName="stepped")["ModelPackageSummaryList"]
    assert sorted(each["ModelPackageVersion"] for each in found) == [1, 2]


def test_steps_run_after_those_that_they_depend_on() -> None:
    steps: list[Any] = [{"Name": "b", "DependsOn": ["a"]}, {"Name": "a"}, {"Name": "c", "DependsOn": ["b", "a"]}]
    assert [step["Name"] for step in in_order(steps)] == ["a", "b", "c"]
    with pytest.raises(StepFailed, match="a, b"):
        list(in_order([{"Name": "a", "DependsOn": ["b"]}, {"Name": "b", "DependsOn": ["a"]}]))


def test_arguments_are_filled_in_at_any_depth() -> None:
    arguments = {
        "A": [{"Get": "Parameters.Group"}, {"Std:Join": {"On": "/", "Values": ["x", {"Get": "Parameters.Group"}]}}]
    }
    assert filled(arguments, {"Parameters.Group": "g"}) == {"A": ["g", "x/g"]}
    with pytest.raises(StepFailed, match=r"Steps\.train"):
        filled({"Get": "Steps.train"}, {})


class Watched(Execution):
    """An execution that reports its end."""

    def __init__(self) -> None:
        super().__init__(
            SimpleNamespace(arn="arn:aws:sagemaker:us-east-1:123456789012:pipeline/retrain/execution/run1")
        )
        self.ended = Queue[str]()

    def succeed(self) -> None:
        super().succeed()
        self.ended.put("succeeded")

    def fail(self, reason: str) -> None:
        super().fail(reason)
        self.ended.put(reason)


@pytest.fixture
def executor(sagemaker: Any) -> Iterator[PipelineExecutor]:
    executor = PipelineExecutor("https://api.sagemaker.us-east-1.amazonaws.com")
    yield executor
    executor.stop()
    jobs.runners.clear()


def begun(*steps: dict[str, Any], **changed: Any) -> Watched:
    """Begin an execution of a pipeline with these steps."""
    role = execution_role_by(boto3.client("iam"), "retrain")
    pipeline = SimpleNamespace(role_arn=role, pipeline_definition=json.dumps({"Steps": steps}))
    execution = Watched()
    pipelines.runners[0](SimpleNamespace(**{**vars(pipeline), **changed}), execution, {"Group": "g"})
    return execution


PROCESSING = {
    "Name": "train",
    "Type": "Processing",
    "Arguments": {
        "AppSpecification": {"ImageUri": IMAGE},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
    },
}
REGISTERING = {
    "Name": "register",
    "Type": "RegisterModel",
    "Arguments": {"ModelPackageGroupName": {"Get": "Parameters.Group"}, "ModelPackageDescription": "by a step"},
}


@pytest.mark.usefixtures("executor")
def test_an_execution_registers_a_model(sagemaker: Any) -> None:
    assert begun(REGISTERING).ended.get(timeout=60) == "succeeded"
    [found] = sagemaker.list_model_packages(ModelPackageGroupName="g")["ModelPackageSummaryList"]
    assert found["ModelPackageDescription"] == "by a step"


@pytest.mark.usefixtures("executor")
@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            {"Name": "tune", "Type": "Tuning", "Arguments": {}},
            "Step tune: only Processing and RegisterModel steps run here, not Tuning.",
        ),
        ({"Name": "tune", "Type": "Tuning"}, "InternalServerError: 'Arguments'"),
    ],
)
def test_a_step_that_is_not_run_here_fails_the_execution(step: dict[str, Any], said: str) -> None:
    assert begun(step, REGISTERING).ended.get(timeout=60) == said


@pytest.mark.usefixtures("executor")
def test_a_failed_job_fails_the_execution_with_its_reason() -> None:
    jobs.runners[:] = [lambda kind, given, job: job.fail("ClientError: no such input")]
    assert begun(PROCESSING).ended.get(timeout=60) == "Step train Failed: ClientError: no such input"


@pytest.mark.usefixtures("executor")
def test_a_role_that_sagemaker_may_not_assume_fails_the_execution(sagemaker: Any) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    other: str = boto3.client("iam").create_role(
        RoleName="other", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    said = f"The trust policy of {other} does not let sagemaker.amazonaws.com assume it."
    assert begun(REGISTERING, role_arn=other).ended.get(timeout=60) == said


def test_an_execution_ends_when_the_local_service_is_stopped(executor: PipelineExecutor) -> None:
    running = Event()

    def run(kind: str, given: Any, job: Job) -> None:
        running.set()

    jobs.runners[:] = [run]
    execution = begun(PROCESSING)
    assert running.wait(60)
    executor.stop()
    assert execution.ended.get(timeout=60) == "The local service was stopped."


def test_a_group_that_may_not_be_looked_up_is_not_made() -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeModelPackageGroup")

    def describe(**given: Any) -> None:
        raise denied

    # It has no call that makes a group.
    client = SimpleNamespace(describe_model_package_group=describe)
    with pytest.raises(ClientError, match="AccessDenied"):
        register(client, {"ModelPackageGroupName": "g"})
