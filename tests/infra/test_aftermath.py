"""Drift and channels: resources exist if the configuration asks for them, and not otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventPattern

from promotion import names
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, synthesize

HERE = "<AWS::Region>:<AWS::AccountId>"
PIPELINE = "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/retrain-summaries"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:releases"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat-AbCdEf"
SETTINGS = f"""
[[advanced.drift.monitors]]
schedule = "summaries-*"
group = "summaries"
environment = "prod"
bucket = "monitoring-reports"
[advanced.drift.retraining."summ*"]
pipeline = "{PIPELINE}"
[channels.releases]
topic = "{TOPIC}"
[advanced.channels.releases]
events = ["Model Promoted", "Model Rolled Back"]
groups = ["summaries", "fraud-*"]
[channels.chat-room]
webhook_secret = "{SECRET}"
[history]
keep_versions = 3
"""


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The stack with monitors, retraining, channels and an archive; cdk-nag looks at it too."""
    folder = tmp_path_factory.mktemp("aftermath")
    plain = (Path(__file__).parent / "promotion.toml").read_text()
    (folder / "promotion.toml").write_text(plain + SETTINGS)
    return synthesize(folder / "promotion.toml", folder / "out", nag="true")


def rules_for(template: Template, module: str) -> list[dict[str, Any]]:
    function, _ = template.function(module)
    return [
        rule
        for rule in template.of_type("AWS::Events::Rule").values()
        if any(target["Arn"] == f"<{function}.Arn>" for target in rule["Targets"])
    ]


def matches(rule: dict[str, Any], event: dict[str, Any]) -> bool:
    return bool(EventPattern.load(json.dumps(rule["EventPattern"])).matches_event(event))


@pytest.mark.parametrize("module", ["on_monitoring_completed", "on_drift_detected", "on_event_published"])
def test_unused_features_have_no_rule(template: Template, module: str) -> None:
    assert rules_for(template, module) == []


def test_parameters_of_archived_versions_are_deleted_by_the_projector_alone(
    template: Template, configured: Template
) -> None:
    parameter = f"arn:<AWS::Partition>:ssm:{HERE}:parameter/promotion/summaries"
    deleters = {
        role
        for role in configured.of_type("AWS::IAM::Role")
        if allowed(configured.statements(role), "ssm:DeleteParameter", f"{parameter}/versions/1", {})
    }
    assert deleters == {configured.role_of("on_projection_due")}
    for name in ("prod/live", "archive"):
        for role in deleters:
            assert not allowed(configured.statements(role), "ssm:DeleteParameter", f"{parameter}/{name}", {})
    may = template.statements(template.role_of("on_projection_due"))
    assert not allowed(may, "ssm:DeleteParameter", f"{parameter}/versions/1", {})


def test_a_completed_job_that_is_not_ours_wakes_the_monitors_function(configured: Template) -> None:
    (rule,) = rules_for(configured, "on_monitoring_completed")
    assert "EventBusName" not in rule, "SageMaker's events come on the default bus"
    detail = {"ProcessingJobName": "model-monitoring-202611210900-1a2b", "ProcessingJobStatus": "Completed"}
    event = {"source": "aws.sagemaker", "detail-type": "SageMaker Processing Job State Change", "detail": detail}
    assert matches(rule, event)
    assert not matches(rule, {**event, "detail": {**detail, "ProcessingJobStatus": "InProgress"}})
    assert not matches(rule, {**event, "detail": {**detail, "ProcessingJobName": "promotion-prod-v3-1-score"}})


def test_drift_wakes_the_retraining_only_where_one_is_due(configured: Template) -> None:
    (rule,) = rules_for(configured, "on_drift_detected")
    assert rule["EventBusName"] == f"<{configured.the('AWS::Events::EventBus', 'WiringBus')[0]}>"
    event = {"source": "promotion", "detail-type": "Drift Detected", "detail": {"retraining": PIPELINE}}
    assert matches(rule, event)
    assert not matches(rule, {**event, "detail": {"retraining_held": "version 4 is on its way"}})
    assert not matches(rule, {**event, "source": names.INFERENCE_SOURCE})


def test_each_channel_has_a_rule_of_its_own(configured: Template) -> None:
    rules = rules_for(configured, "on_event_published")
    templates = [rule["Targets"][0]["InputTransformer"]["InputTemplate"] for rule in rules]
    inputs = [json.loads(text.replace("<detail>", "0").replace("<source>", "0")) for text in templates]
    told = {given["channel"]: rule for given, rule in zip(inputs, rules, strict=True)}
    assert set(told) == {"releases", "chat-room"}
    event = {"source": "promotion", "detail-type": "Model Promoted", "detail": {"model_package_group": "fraud-eu"}}
    assert all(matches(rule, event) for rule in rules)
    assert not matches(told["releases"], {**event, "detail": {"model_package_group": "other"}})
    assert not matches(told["releases"], {**event, "detail-type": "Approval Requested"})
    assert matches(told["chat-room"], {**event, "detail-type": "Approval Requested"})
    for rule in rules:
        transformer = rule["Targets"][0]["InputTransformer"]
        assert sorted(transformer["InputPathsMap"].values()) == ["$.detail", "$.source"]
        assert matches(rule, {**event, "source": names.CHANNELS_SOURCE}), "what waited with the mail"
        assert "DeadLetterConfig" in rule["Targets"][0]


@pytest.mark.parametrize(
    ("module", "action", "resource", "wanted"),
    [
        ("on_drift_detected", "sagemaker:StartPipelineExecution", PIPELINE, True),
        ("on_drift_detected", "sagemaker:StartPipelineExecution", PIPELINE + "-other", False),
        ("on_drift_detected", "sagemaker:UpdatePipeline", PIPELINE, False),
        ("on_drift_detected", "sagemaker:CreateModelPackage", "*", False),
        ("on_monitoring_completed", "sagemaker:DescribeProcessingJob",
         f"arn:<AWS::Partition>:sagemaker:{HERE}:processing-job/model-monitoring-1", True),
        ("on_monitoring_completed", "s3:GetObject", "arn:<AWS::Partition>:s3:::monitoring-reports/a.json", True),
        ("on_monitoring_completed", "s3:GetObject", "arn:<AWS::Partition>:s3:::promotion-models/a.json", False),
        ("on_monitoring_completed", "s3:PutObject", "arn:<AWS::Partition>:s3:::monitoring-reports/a.json", False),
        ("on_event_published", "sns:Publish", TOPIC, True),
        ("on_event_published", "sns:Publish", TOPIC + "-other", False),
        ("on_event_published", "secretsmanager:GetSecretValue", SECRET, True),
        ("on_event_published", "secretsmanager:GetSecretValue", SECRET[:-1] + "x", False),
        ("on_event_published", "sns:Subscribe", TOPIC, False),
    ],
)  # fmt: skip
def test_a_function_may_reach_what_is_named_and_nothing_beside_it(
    configured: Template, module: str, action: str, resource: str, wanted: bool
) -> None:
    assert allowed(configured.statements(configured.role_of(module)), action, resource, {}) is wanted


def test_events_that_these_functions_give_up_on_are_kept(configured: Template) -> None:
    undelivered, _ = configured.the("AWS::SQS::Queue", "WiringUndelivered")
    kept = {
        config["FunctionName"]: config["DestinationConfig"]["OnFailure"]["Destination"]
        for config in configured.of_type("AWS::Lambda::EventInvokeConfig").values()
    }
    for module in ("on_monitoring_completed", "on_drift_detected", "on_event_published"):
        assert kept[f"<{configured.function(module)[0]}>"] == f"<{undelivered}.Arn>"


def test_no_alarm_watches_more_than_an_expression_takes(configured: Template) -> None:
    for name, alarm in configured.of_type("AWS::CloudWatch::Alarm").items():
        assert sum("MetricStat" in metric for metric in alarm.get("Metrics", ())) <= 10, name
