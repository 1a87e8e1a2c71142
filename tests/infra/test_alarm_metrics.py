"""Alarms on AWS's own metrics: each metric is a documented one, of a resource of the same template."""

from __future__ import annotations

from collections.abc import Mapping

from promotion import names
from tests.infra.alarms import alarms, watched
from tests.infra.synthesized import Template

# AWS's own metrics: the sets of dimensions that each comes with, and the statistics that say something.
DOCUMENTED: Mapping[tuple[str, str], tuple[set[frozenset[str]], set[str]]] = {
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html (no dimension: all functions of the account)
    ("AWS/Lambda", "Errors"): ({frozenset({"FunctionName"})}, {"Sum"}),
    ("AWS/Lambda", "Throttles"): ({frozenset()}, {"Sum"}),
    ("AWS/Lambda", "IteratorAge"): ({frozenset({"FunctionName"})}, {"Maximum"}),
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): ({frozenset({"QueueName"})}, {"Maximum"}),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): ({frozenset({"QueueName"})}, {"Maximum"}),
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html (HTTP APIs write 5xx, not 5XXError)
    ("AWS/ApiGateway", "5xx"): ({frozenset({"ApiId"}), frozenset({"ApiId", "Stage"})}, {"Sum"}),
    # https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
    ("AWS/States", "ExecutionsFailed"): ({frozenset({"StateMachineArn"})}, {"Sum"}),
    ("AWS/States", "ExecutionsTimedOut"): ({frozenset({"StateMachineArn"})}, {"Sum"}),
    # https://docs.aws.amazon.com/ses/latest/dg/event-destinations-manage.html: with the event destination's own dimension
    ("AWS/SES", "Bounce"): ({frozenset({"ses:configuration-set"})}, {"Sum"}),
    ("AWS/SES", "Complaint"): ({frozenset({"ses:configuration-set"})}, {"Sum"}),
    ("AWS/SES", "Reject"): ({frozenset({"ses:configuration-set"})}, {"Sum"}),
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
    ("AWS/DynamoDB", "ReadThrottleEvents"): ({frozenset({"TableName"})}, {"Sum"}),
    ("AWS/DynamoDB", "WriteThrottleEvents"): ({frozenset({"TableName"})}, {"Sum"}),
}  # fmt: skip
# What the value of a dimension has to be: a reference to a resource of this type in the same template.
REFERS_TO = {
    "FunctionName": "AWS::Lambda::Function",
    "QueueName": "AWS::SQS::Queue",
    "ApiId": "AWS::ApiGatewayV2::Api",
    "StateMachineArn": "AWS::StepFunctions::StateMachine",
    "ses:configuration-set": "AWS::SES::ConfigurationSet",
    "TableName": "AWS::DynamoDB::Table",
}


def test_every_metric_of_aws_is_a_documented_one_of_a_resource_of_this_template(
    template: Template, several: dict[str, Template]
) -> None:
    seen = set()
    for made in (template, *several.values()):
        for name, alarm in alarms(made):
            for metric in watched(alarm):
                if metric.namespace == names.METRICS_NAMESPACE:
                    continue
                seen.add((metric.namespace, metric.name))
                dimensions, statistics = DOCUMENTED[metric.namespace, metric.name]
                assert frozenset(metric.dimensions) in dimensions, name
                assert metric.statistic in statistics, name
                for dimension, value in metric.dimensions.items():
                    resource = value.strip("<>").removesuffix(".QueueName").removesuffix(".Arn")
                    assert made.resources[resource]["Type"] == REFERS_TO[dimension], (name, value)
    assert seen == set(DOCUMENTED)


def test_no_alarm_looks_further_back_than_cloudwatch_allows(template: Template) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""
    for name, alarm in alarms(template):
        for metric in watched(alarm):
            assert metric.period_s in (60, 300) or metric.period_s % 3600 == 0, name
            longest = 7 * 86_400 if metric.period_s >= 3600 else 86_400
            assert metric.period_s * alarm["EvaluationPeriods"] <= longest, name
