"""Costs of a run, from the time of its instances."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import boto3
from botocore.stub import Stubber
from msgspec.structs import replace

from promotion.aws.sagemaker.runs import instance_times
from promotion.rendering.documents.costs import InstanceTime, cost, dollars, price_list
from tests.rules.markup import Document
from tests.rules.scenario import Scenario, measured, page

BEGAN = datetime.fromisoformat("2026-11-20T10:00:00+00:00")


def time(kind: str, minutes: float, count: int = 1) -> InstanceTime:
    return InstanceTime(instance_type=kind, count=count, time=timedelta(minutes=minutes))


def test_a_cost_is_time_by_price_and_says_so() -> None:
    found = cost([time("ml.g5.xlarge", 5), time("ml.m5.xlarge", 1.5)])
    assert found is not None
    assert (found.usd, dollars(found.usd)) == (0.1231, "about $0.12")
    assert found.basis.startswith("5.0 min of ml.g5.xlarge and 1.5 min of ml.m5.xlarge, us-east-1 list prices of 20")
    twice = cost([time("ml.g5.xlarge", 5, count=2)])
    assert twice is not None
    assert twice.usd == round(2 * 5 / 60 * price_list().usd_per_hour["ml.g5.xlarge"], 4)


def test_half_a_cost_is_none() -> None:
    assert cost([time("ml.g5.xlarge", 5), time("ml.unheard-of", 1)]) is None
    assert cost([]) is None
    assert cost([time("ml.g5.xlarge", -1)]) is None


def test_next_to_nothing_is_said_as_that() -> None:
    assert dollars(0.004) == "less than a cent"


def jobs(transform: dict[str, Any], score: dict[str, Any]) -> list[InstanceTime]:
    client = boto3.client("sagemaker", region_name="us-east-1")
    one = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}
    with Stubber(client) as stub:
        common = {"CreationTime": BEGAN}
        stub.add_response(
            "describe_transform_job",
            {
                **common, **transform, "TransformResources": one, "TransformJobName": "x", "TransformJobArn": "arn",
                "TransformJobStatus": "Completed", "ModelName": "m",
                "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}}},
            },
            {"TransformJobName": "promotion-run-1"},
        )  # fmt: skip
        stub.add_response(
            "describe_processing_job",
            {
                **common, **score, "ProcessingResources": {"ClusterConfig": {**one, "VolumeSizeInGB": 30}},
                "ProcessingJobName": "x", "ProcessingJobArn": "arn", "ProcessingJobStatus": "Completed",
                "AppSpecification": {"ImageUri": "i"},
            },
            {"ProcessingJobName": "promotion-run-1-score"},
        )  # fmt: skip
        return instance_times(client, "run-1")


def test_times_are_those_of_the_jobs() -> None:
    later = BEGAN + timedelta(minutes=3)
    scored = {"ProcessingStartTime": BEGAN, "ProcessingEndTime": later}
    found = jobs({"TransformStartTime": BEGAN, "TransformEndTime": later}, scored)
    assert [each.time for each in found] == [timedelta(minutes=3)] * 2
    assert jobs({}, scored) == []


def test_a_run_without_jobs_costs_nothing_that_we_know() -> None:
    client = boto3.client("sagemaker", region_name="us-east-1")
    with Stubber(client) as stub:
        stub.add_client_error("describe_transform_job", "ValidationException", "no such job", 400)
        assert instance_times(client, "by-hand") == []


def test_the_page_says_what_the_run_cost() -> None:
    scenario = Scenario()
    scenario.registers(1)
    scenario.decides("dev", 1)
    spent = replace(measured(0.7), cost_usd=0.1231, cost_basis="5.0 min of ml.g5.xlarge, list prices")
    scenario.runs("dev", 1, spent)
    document = scenario.request("test", 1)
    assert document["evidence"]["cost_usd"] == 0.1231
    assert "about $0.12" in Document(page("request", document)).words
