"""SageMaker jobs that run, take time, can be stopped, can fail, and send events; moto's complete immediately."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.sagemaker.exceptions import ResourceInUseException, ValidationError
from moto.sagemaker.responses import SageMakerResponse

# Set by the local service: called with each job that was just created, and its request.
runners: list[Callable[[str, Mapping[str, Any], Job], None]] = []
# Called at each change of a job's status; the local service sends EventBridge's event then.
listeners: list[Callable[[Job], None]] = []

_KINDS = {"transform": "TransformJob", "processing": "ProcessingJob"}
# Not in the examples of https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
_UNSAID = frozenset({"ExitMessage", "MonitoringScheduleArn", "Environment", "Tags"})


class Job:
    """A job in moto's store, with the fields that change while it runs."""

    def __init__(self, kind: str, kept: Any) -> None:
        self.kind = kind
        self._kept = kept

    @property
    def name(self) -> str:
        name: str = getattr(self._kept, f"{self.kind}_job_name")
        return name

    @property
    def arn(self) -> str:
        arn: str = self._kept.arn
        return arn

    @property
    def status(self) -> str:
        status: str = getattr(self._kept, f"{self.kind}_job_status")
        return status

    def say(self, message: str) -> None:
        """Set the exit message from the container's /opt/ml/output/message, of which AWS stores a kilobyte."""
        self._kept.exit_message = message[:1024] or None

    def start(self) -> None:
        self._set("InProgress")
        setattr(self._kept, f"{self.kind}_start_time", utcnow())
        setattr(self._kept, f"{self.kind}_end_time", None)

    def complete(self) -> None:
        self._end("Completed")

    def fail(self, reason: str) -> None:
        self._kept.failure_reason = reason[:1024]
        self._end("Failed")

    def stop(self) -> None:
        """Set the job to Stopping; its runner ends it."""
        if self.status == "InProgress":
            self._set("Stopping")

    def stopped(self) -> None:
        self._end("Stopped")

    def _end(self, status: str) -> None:
        setattr(self._kept, f"{self.kind}_end_time", utcnow())
        self._set(status)

    def _set(self, status: str) -> None:
        self._kept.last_modified_time = utcnow()
        setattr(self._kept, f"{self.kind}_job_status", status)
        for listener in listeners:
            listener(self)

    def state_change(self) -> dict[str, Any]:
        """Return the detail of EventBridge's event: the description with times in milliseconds."""
        described = {key: value for key, value in self._kept.response_object.items() if key not in _UNSAID}
        return {
            key: int(value.timestamp() * 1000) if isinstance(value, dt.datetime) else value
            for key, value in described.items()
        }


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    for kind, title in _KINDS.items():
        setattr(
            SageMakerResponse,
            f"create_{kind}_job",
            _create(kind, title, getattr(SageMakerResponse, f"create_{kind}_job")),
        )
        setattr(SageMakerResponse, f"stop_{kind}_job", _stop(kind, title))


def _create(kind: str, title: str, create: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    def create_job(self: Any) -> ActionResult:
        given = json.loads(self.body)
        name = given[f"{title}Name"]
        if name in _jobs(self, kind):
            raise ResourceInUseException(message=f"{title} {name} already exists; names are used once.")
        if kind == "transform" and given["ModelName"] not in self.sagemaker_backend._models:
            raise ValidationError(message=f'Could not find model "{given["ModelName"]}".')
        if kind == "transform" and _names_a_folder(self.sagemaker_backend._models[given["ModelName"]]):
            raise ValidationError(
                message="SageMaker Batch currently doesn't support Model entity with container definitions which use "
                "ModelDataSource attribute."
            )
        answer = create(self)
        begin(kind, given, _jobs(self, kind)[name])
        return answer

    return create_job


def _names_a_folder(model: Any) -> bool:
    containers = [model.primary_container] if model.primary_container else list(model.containers)
    return any(container.get("ModelDataSource") for container in containers)


def begin(kind: str, given: Mapping[str, Any], kept: Any) -> None:
    """Pass a job that moto has just stored to the runner of jobs."""
    kept.failure_reason = None
    kept.processing_resources = given.get("ProcessingResources")
    kept.environment = given.get("Environment")
    if runners:
        job = Job(kind, kept)
        job.start()
        runners[0](kind, given, job)


def _stop(kind: str, title: str) -> Callable[[Any], ActionResult]:
    def stop_job(self: Any) -> ActionResult:
        name = json.loads(self.body)[f"{title}Name"]
        if name not in _jobs(self, kind):
            raise ValidationError(message=f"Could not find {title} {name}.")
        Job(kind, _jobs(self, kind)[name]).stop()
        return EmptyResult()

    return stop_job


def _jobs(response: Any, kind: str) -> dict[str, Any]:
    jobs: dict[str, Any] = getattr(response.sagemaker_backend, f"{kind}_jobs")
    return jobs
