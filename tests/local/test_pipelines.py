"""SageMaker pipelines on one machine: what AWS refuses is refused, and a token starts one execution."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local import moto_patches
from local.jobs.pipelines import StepFailed, filled, in_order, register

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
