"""SageMaker Model Monitor's schedules, which moto lacks. Each execution is a processing job."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.sagemaker.exceptions import ResourceInUseException, ResourceNotFound, ValidationError
from moto.sagemaker.responses import SageMakerResponse

from local.moto_patches import jobs

_BASELINE = "/opt/ml/processing/baseline"
ONCE = "NOW"


class Schedule:
    """A monitoring schedule, and the jobs that it has started."""

    def __init__(self, given: dict[str, Any], account: str, region: str) -> None:
        self.name: str = given["MonitoringScheduleName"]
        self.arn = f"arn:aws:sagemaker:{region}:{account}:monitoring-schedule/{self.name.lower()}"
        self.config = given["MonitoringScheduleConfig"]
        self.created, self.created_at = utcnow(), time.time()
        self.executions: list[tuple[dt.datetime, Any]] = []

    @property
    def expression(self) -> str:
        """Return `NOW`, or `cron(…)`; every hour by default."""
        return str((self.config.get("ScheduleConfig") or {}).get("ScheduleExpression") or "cron(0 * ? * * *)")

    @property
    def definition(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["MonitoringJobDefinition"]
        return found

    def request(self, at: dt.datetime) -> dict[str, Any]:
        """Return the request of the processing job for an execution at `at`.

        The container's environment variables:
        https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-contract-inputs.html
        """
        inputs, environment = [], {"sagemaker_monitoring_schedule_name": self.name, "end_time": at.isoformat()}
        batch = self.definition["MonitoringInputs"][0]["BatchTransformInput"]
        inputs.append(_input("input_1", batch["DataCapturedDestinationS3Uri"], batch["LocalPath"]))
        environment["dataset_source"] = batch["LocalPath"]
        for kind, known in (("Constraints", "baseline_constraints"), ("Statistics", "baseline_statistics")):
            place = (self.definition.get("BaselineConfig") or {}).get(f"{kind}Resource", {}).get("S3Uri")
            if place:
                folder = f"{_BASELINE}/{kind.lower()}"
                inputs.append(_input(kind.lower(), place, folder))
                environment[known] = f"{folder}/{place.rpartition('/')[2]}"
        output = self.definition["MonitoringOutputConfig"]["MonitoringOutputs"][0]["S3Output"]
        environment["output_path"] = output["LocalPath"]
        hour = f"{output['S3Uri'].rstrip('/')}/{self.name}/{at:%Y/%m/%d/%H}"
        return {
            "ProcessingJobName": f"model-monitoring-{at:%Y%m%d%H%M}-{uuid.uuid4().hex[:24]}",
            "RoleArn": self.definition["RoleArn"],
            "AppSpecification": self.definition["MonitoringAppSpecification"],
            "ProcessingResources": self.definition["MonitoringResources"],
            "StoppingCondition": self.definition.get("StoppingCondition") or {"MaxRuntimeInSeconds": 3600},
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {
                "Outputs": [{"OutputName": "result", "S3Output": {**output, "S3Uri": hour, "S3UploadMode": "EndOfJob"}}]
            },
            "Environment": {**environment, **(self.definition.get("Environment") or {})},
        }

    def execute(self, backend: Any, at: dt.datetime) -> None:
        """Start the execution that is due at `at`."""
        given = self.request(at)
        kept = backend.create_processing_job(
            app_specification=given["AppSpecification"],
            experiment_config=None,
            network_config=self.definition.get("NetworkConfig"),
            processing_inputs=given["ProcessingInputs"],
            processing_job_name=given["ProcessingJobName"],
            processing_output_config=given["ProcessingOutputConfig"],
            role_arn=given["RoleArn"],
            tags=None,
            stopping_condition=given["StoppingCondition"],
        )
        kept.monitoring_schedule_arn = self.arn
        self.executions.append((at, kept))
        jobs.begin("processing", given, kept)

    def described(self) -> dict[str, Any]:
        newest = [self.summary(*self.executions[-1])] if self.executions else []
        return {
            "MonitoringScheduleName": self.name,
            "MonitoringScheduleArn": self.arn,
            "MonitoringScheduleStatus": "Scheduled",
            "MonitoringScheduleConfig": self.config,
            "CreationTime": self.created,
            "LastModifiedTime": self.created,
            **({"LastMonitoringExecutionSummary": newest[0]} if newest else {}),
        }

    def summary(self, at: dt.datetime, kept: Any) -> dict[str, Any]:
        """Return an execution's list entry; it completed with violations if the container's exit message says so."""
        said = str(getattr(kept, "exit_message", None) or "")
        violated = kept.processing_job_status == "Completed" and said.startswith("CompletedWithViolations")
        return {
            "MonitoringScheduleName": self.name,
            "ScheduledTime": at,
            "CreationTime": kept.creation_time,
            "LastModifiedTime": kept.last_modified_time,
            "MonitoringExecutionStatus": "CompletedWithViolations" if violated else kept.processing_job_status,
            "ProcessingJobArn": kept.arn,
            **({"FailureReason": kept.failure_reason} if kept.failure_reason else {}),
        }


def schedules(backend: Any) -> dict[str, Schedule]:
    """Return the schedules of a moto backend, by name."""
    found: dict[str, Schedule] = backend.__dict__.setdefault("monitoring_schedules", {})
    return found


def mend() -> None:
    """Add the operations to moto's SageMaker."""

    def create_monitoring_schedule(self: Any) -> ActionResult:
        given = json.loads(self.body)
        known = schedules(self.sagemaker_backend)
        if given["MonitoringScheduleName"] in known:
            raise ResourceInUseException(message=f"Monitoring Schedule {given['MonitoringScheduleName']} exists.")
        definition = given["MonitoringScheduleConfig"].get("MonitoringJobDefinition") or {}
        if not any("BatchTransformInput" in each for each in definition.get("MonitoringInputs", ())):
            raise ValidationError(message="Here a schedule needs its own job definition, on a BatchTransformInput.")
        schedule = Schedule(given, self.sagemaker_backend.account_id, self.sagemaker_backend.region_name)
        known[schedule.name] = schedule
        return ActionResult({"MonitoringScheduleArn": schedule.arn})

    def describe_monitoring_schedule(self: Any) -> ActionResult:
        return ActionResult(_named(self).described())

    def list_monitoring_executions(self: Any) -> ActionResult:
        schedule = _named(self)
        newest_first = [schedule.summary(at, kept) for at, kept in reversed(schedule.executions)]
        return ActionResult({"MonitoringExecutionSummaries": newest_first})

    def delete_monitoring_schedule(self: Any) -> ActionResult:
        del schedules(self.sagemaker_backend)[_named(self).name]
        return EmptyResult()

    for operation in (
        create_monitoring_schedule,
        describe_monitoring_schedule,
        list_monitoring_executions,
        delete_monitoring_schedule,
    ):
        setattr(SageMakerResponse, operation.__name__, operation)


def _named(response: Any) -> Schedule:
    name = json.loads(response.body)["MonitoringScheduleName"]
    found = schedules(response.sagemaker_backend).get(name)
    if found is None:
        raise ResourceNotFound(message=f"Monitoring Schedule {name} not found.")
    return found


def _input(name: str, uri: str, folder: str) -> dict[str, Any]:
    return {"InputName": name, "S3Input": {"S3Uri": uri, "LocalPath": folder, "S3DataType": "S3Prefix"}}
