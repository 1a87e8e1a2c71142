"""The functions of drift: what an execution of Model Monitor comes to, and how a pipeline is started."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.handlers import on_drift_detected, on_monitoring_completed
from promotion.config.loading import Config, parse
from promotion.errors import PromotionError
from promotion.ledger.append import Receipt
from promotion.workflows.commands import Command, message
from tests.fakes import CONFIG_TEXT, GROUP

PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/retrain-summariser"
SETTINGS = f"""
[advanced.drift.retraining."summ*"]
pipeline = "{PIPELINE}"
parameters = {{ Group = "{{group}}", Input = "{{input}}", Version = "v{{version}}" }}
[[advanced.drift.monitors]]
schedule = "summaries-*"
group = "{GROUP}"
environment = "prod"
bucket = "reports"
"""
EVENT_ID = "0f" * 16
JOB = {
    "ProcessingJobName": "model-monitoring-202611210900-1a2b",
    "ProcessingJobStatus": "Completed",
    "MonitoringScheduleArn": "arn:aws:sagemaker:us-east-1:123456789012:monitoring-schedule/summaries-hourly",
    "ExitMessage": "CompletedWithViolations: Job completed successfully with 3 violations.",
    "ProcessingOutputConfig": {"Outputs": [{"S3Output": {"S3Uri": "s3://reports/summaries/2026/11/21/09"}}]},
}
VIOLATIONS = {
    "violations": [
        {"feature_name": "length", "constraint_check_type": "baseline_drift_check", "description": "0.4 > 0.1"},
        {"feature_name": "<b>language</b>", "constraint_check_type": "categorical_values_check"},
        "no object",
    ]
}


class FakeSageMaker:
    def __init__(self, job: dict[str, Any] | None = None) -> None:
        self.job, self.started = job or JOB, list[dict[str, Any]]()

    def describe_processing_job(self, *, ProcessingJobName: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        return self.job

    def start_pipeline_execution(self, **given: Any) -> dict[str, str]:
        self.started.append(given)
        return {"PipelineExecutionArn": f"{given['PipelineName']}/execution/{given['ClientRequestToken'][:4]}"}


class FakeS3:
    def __init__(self, body: bytes | None) -> None:
        self.body = body

    def get_object(self, **_: Any) -> dict[str, Any]:
        if self.body is None:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": ""}}, "GetObject")
        return {"Body": io.BytesIO(self.body), "ContentLength": len(self.body)}


class FakeRecorder:
    def __init__(self, refusal: str = "") -> None:
        self.recorded, self.refusal = list[tuple[str, dict[str, Any]]](), refusal

    def record(self, command: Command) -> Receipt:
        if self.refusal:
            raise PromotionError(self.refusal)
        sent = json.loads(message(command))
        self.recorded.append((sent["operation"], sent["arguments"]))
        return Receipt(group=GROUP)


class Fakes:
    """The outside world of one function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sagemaker, self.s3, self.recorder = (
            FakeSageMaker(),
            FakeS3(json.dumps(VIOLATIONS).encode()),
            FakeRecorder(),
        )
        self.config: Config = parse(CONFIG_TEXT.replace("[mail]", '[inference]\nbucket = "models"\n[mail]') + SETTINGS)
        for module in (on_drift_detected, on_monitoring_completed):
            monkeypatch.setattr(module, "client", lambda name: getattr(self, name))
            monkeypatch.setattr(module, "config", lambda: self.config)
            monkeypatch.setattr(module, "recorder", lambda: self.recorder)

    def monitored(self, **changes: Any) -> list[tuple[str, dict[str, Any]]]:
        self.sagemaker.job = {**JOB, **changes}
        detail = {"ProcessingJobName": JOB["ProcessingJobName"], "ProcessingJobStatus": "Completed"}
        on_monitoring_completed.handler({"id": "e", "detail": detail}, None)
        return self.recorder.recorded


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return Fakes(monkeypatch)


def drifting(**changes: Any) -> dict[str, Any]:
    detail = {
        "model_package_group": GROUP,
        "model_package_version": 3,
        "environment": "prod",
        "event_id": EVENT_ID,
        "retraining": PIPELINE,
        "reason": "The largest index is 0.4.",
    }
    return {"id": "e", "detail": {**detail, **changes}}


def test_violations_are_drift_and_said_by_feature(fakes: Fakes) -> None:
    ((operation, given),) = fakes.monitored()
    assert operation == "monitoring"
    assert (given["group"], given["environment"], given["source"]) == (GROUP, "prod", "monitor summaries-hourly")
    assert given["violations"] == 2
    assert given["reason"].startswith("Model Monitor found 2 violations: baseline_drift_check on length and")
    assert given["report"] == "s3://reports/summaries/2026/11/21/09/constraint_violations.json"


def test_a_schedule_is_followed_in_whatever_case_its_arn_has(fakes: Fakes) -> None:
    arn = str(JOB["MonitoringScheduleArn"])
    head, _, name = arn.rpartition("/")
    assert len(fakes.monitored(MonitoringScheduleArn=f"{head}/{name.title()}")) == 1


def test_an_execution_without_violations_says_so(fakes: Fakes) -> None:
    ((_, given),) = fakes.monitored(ExitMessage="Completed: Job completed successfully with no violations.")
    assert given["violations"] == 0


@pytest.mark.parametrize("body", [None, b"{", b"[]", b"{}", b'{"violations": 7}', b"[" * 100_000])
def test_a_report_that_cannot_be_read_leaves_the_exit_message(fakes: Fakes, body: bytes | None) -> None:
    fakes.s3.body = body
    ((_, given),) = fakes.monitored()
    assert (given["violations"], given["reason"]) == (1, "Model Monitor: Job completed successfully with 3 violations.")


@pytest.mark.parametrize(
    "changes",
    [
        {"MonitoringScheduleArn": None},
        {"MonitoringScheduleArn": "arn:aws:sagemaker:us-east-1:123456789012:monitoring-schedule/other"},
        {"ProcessingJobStatus": "Failed"},
    ],
)
def test_other_jobs_are_nobodys_business(fakes: Fakes, changes: dict[str, Any]) -> None:
    assert fakes.monitored(**changes) == []


def test_a_report_in_another_bucket_is_not_read(fakes: Fakes) -> None:
    ((_, given),) = fakes.monitored(ProcessingOutputConfig={"Outputs": [{"S3Output": {"S3Uri": "s3://payroll/2026"}}]})
    assert given["reason"] == "Model Monitor: Job completed successfully with 3 violations."


def test_drift_starts_the_configured_pipeline_with_its_parameters(fakes: Fakes) -> None:
    on_drift_detected.handler(drifting(), None)
    (started,) = fakes.sagemaker.started
    assert (started["PipelineName"], started["ClientRequestToken"]) == (PIPELINE, EVENT_ID)
    assert {each["Name"]: each["Value"] for each in started["PipelineParameters"]} == {
        "Group": GROUP,
        "Input": f"s3://models/{GROUP}/prod/input.jsonl",
        "Version": "v3",
    }
    ((operation, given),) = fakes.recorder.recorded
    assert (operation, given["execution"]) == ("retraining", f"{PIPELINE}/execution/0f0f")


def test_a_second_delivery_has_the_same_token(fakes: Fakes) -> None:
    for _ in range(2):
        on_drift_detected.handler(drifting(), None)
    assert {started["ClientRequestToken"] for started in fakes.sagemaker.started} == {EVENT_ID}


@pytest.mark.parametrize(
    "changes",
    [{"retraining": ""}, {"retraining": PIPELINE + "-of-somebody-else"}, {"model_package_group": "other"}],
)
def test_an_event_cannot_name_a_pipeline_of_its_own(fakes: Fakes, changes: dict[str, Any]) -> None:
    on_drift_detected.handler(drifting(**changes), None)
    assert fakes.sagemaker.started == []


@pytest.mark.parametrize("event", [{}, {"detail": None}, {"detail": {"event_id": 7}}, {"detail": []}])
def test_a_damaged_event_is_refused_and_not_tried_again(fakes: Fakes, event: dict[str, Any]) -> None:
    assert "refused" in on_drift_detected.handler(event, None)
    assert "refused" in on_monitoring_completed.handler(event, None)
    assert fakes.recorder.recorded == []


def test_a_refusal_of_the_ledger_is_logged_and_not_tried_again(fakes: Fakes) -> None:
    fakes.recorder.refusal = "there is no environment 'prod'."
    assert fakes.monitored() == []
    assert on_drift_detected.handler(drifting(), None) == {"refused": "there is no environment 'prod'."}
