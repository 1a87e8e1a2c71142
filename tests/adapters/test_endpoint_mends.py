"""Endpoints as AWS has them rather than moto: names used once, changes one at a time, tags and alarms that keep what they had."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.adapters.conftest import Aws, SageMakerDriver

ROLE = "arn:aws:iam::123456789012:role/execution"
VARIANT = {"VariantName": "v", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}


@pytest.fixture
def sagemaker(aws: Aws, hand: SageMakerDriver) -> Any:
    client = aws.client("sagemaker")
    for name in ("one", "two"):
        container = {"Image": "image", "ModelDataUrl": "s3://models/m.tar.gz"}
        client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[{**VARIANT, "ModelName": name}])
    client.create_endpoint(EndpointName="e", EndpointConfigName="one", Tags=[{"Key": "a", "Value": "1"}])
    return client


def status(sagemaker: Any) -> tuple[str, str, str]:
    found = sagemaker.describe_endpoint(EndpointName="e")
    return found["EndpointStatus"], found["EndpointConfigName"], found.get("FailureReason", "")


def test_a_name_is_used_once(sagemaker: Any) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = [
        (
            sagemaker.create_model,
            {"ModelName": "one", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": "other"}},
        ),
        (
            sagemaker.create_endpoint_config,
            {"EndpointConfigName": "one", "ProductionVariants": [{**VARIANT, "ModelName": "two"}]},
        ),
        (sagemaker.create_endpoint, {"EndpointName": "e", "EndpointConfigName": "two"}),
    ]
    for call, given in calls:
        with pytest.raises(ClientError, match="already existing"):
            call(**given)
    assert status(sagemaker)[1] == "one"


def test_an_endpoint_takes_its_time_and_says_so(sagemaker: Any, hand: SageMakerDriver) -> None:
    assert status(sagemaker) == ("Creating", "one", "")
    endpoint, config = hand.deploying.pop()
    endpoint.in_service(config)
    assert status(sagemaker) == ("InService", "one", "")
    assert endpoint.detail()["EndpointStatus"] == "IN_SERVICE"


def test_one_change_at_a_time(sagemaker: Any) -> None:
    with pytest.raises(ClientError, match="in-progress"):
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    with pytest.raises(ClientError, match="in-progress"):
        sagemaker.delete_endpoint(EndpointName="e")


def test_an_update_serves_the_old_until_it_is_over_and_goes_back_with_a_reason(
    sagemaker: Any, hand: SageMakerDriver
) -> None:
    first, config = hand.deploying.pop()
    first.in_service(config)
    sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    assert status(sagemaker) == ("Updating", "one", "")
    hand.deploying.pop()[0].fail("no", back=True)
    assert status(sagemaker) == ("InService", "one", "no")


def test_an_endpoint_that_failed_at_first_can_only_be_deleted(sagemaker: Any, hand: SageMakerDriver) -> None:
    hand.deploying.pop()[0].fail("never healthy", back=False)
    assert status(sagemaker) == ("Failed", "one", "never healthy")
    with pytest.raises(ClientError, match="status Failed"):
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    sagemaker.delete_endpoint(EndpointName="e")
    hand.leaving.pop().gone()
    with pytest.raises(ClientError, match="Could not find"):
        status(sagemaker)


def test_an_update_needs_a_configuration_that_is_there(sagemaker: Any, hand: SageMakerDriver) -> None:
    endpoint, config = hand.deploying.pop()
    endpoint.in_service(config)
    with pytest.raises(ClientError, match="Could not find"):
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="three")
    assert status(sagemaker)[0] == "InService"


def test_a_tag_that_is_put_again_has_the_new_value(sagemaker: Any) -> None:
    arn = sagemaker.describe_endpoint(EndpointName="e")["EndpointArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "1"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "1"}]


def test_models_are_listed_by_part_of_their_name(sagemaker: Any) -> None:
    assert [model["ModelName"] for model in sagemaker.list_models(NameContains="tw")["Models"]] == ["two"]


def test_an_instance_type_is_one_that_the_call_knows(sagemaker: Any) -> None:
    for kind, fits in (("ml.g6e.xlarge", True), ("ml.p5.48xlarge", True), ("ml.z9.huge", False)):
        variant = {**VARIANT, "ModelName": "one", "InstanceType": kind}
        if fits:
            sagemaker.create_endpoint_config(EndpointConfigName=kind.replace(".", "-"), ProductionVariants=[variant])
        else:
            with pytest.raises(ClientError, match="no instance type"):
                sagemaker.create_endpoint_config(EndpointConfigName="x", ProductionVariants=[variant])


def test_an_alarm_that_is_put_again_keeps_its_state(aws: Aws) -> None:
    cloudwatch = aws.client("cloudwatch")
    alarm: dict[str, Any] = {
        "AlarmName": "a", "Namespace": "n", "MetricName": "m", "Statistic": "Average", "Period": 60, "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold", "Threshold": 1.0,
    }  # fmt: skip
    cloudwatch.put_metric_alarm(**alarm)
    cloudwatch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="because")
    cloudwatch.put_metric_alarm(**{**alarm, "Threshold": 2.0})
    [found] = cloudwatch.describe_alarms(AlarmNames=["a"])["MetricAlarms"]
    assert (found["StateValue"], found["Threshold"]) == ("ALARM", 2.0)
