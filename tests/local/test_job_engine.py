"""Jobs in process: how each failure and stop ends in the job's status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local import moto_patches
from local.children import Children
from local.jobs.engine import JobEngine
from local.moto_patches import jobs
from local.moto_patches.jobs import Job
from tests.local.people import IMAGE, execution_role_by


class Watched(Job):
    """A job that reports its end."""

    def __init__(self, status: str) -> None:
        self.kept = SimpleNamespace(processing_job_name="job", processing_job_status=status, failure_reason=None)
        super().__init__("processing", self.kept)
        self.ended = Queue[tuple[str, str | None]]()

    def fail(self, reason: str) -> None:
        super().fail(reason)
        self.ended.put((self.status, self.kept.failure_reason))

    def stopped(self) -> None:
        super().stopped()
        self.ended.put((self.status, None))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[None]:
    moto_patches.apply()
    children = Children()
    with mock_aws():
        running = JobEngine("https://s3.amazonaws.com", tmp_path, children)
        yield
        running.stop()
        children.stop_all()


def end_of(request: dict[str, Any], status: str = "InProgress") -> tuple[str, str | None]:
    job = Watched(status)
    jobs.runners[0]("processing", request, job)
    return job.ended.get(timeout=60)


def request_of(command: list[str], **given: Any) -> dict[str, Any]:
    role = execution_role_by(boto3.client("iam"), "processing")
    return {"RoleArn": role, "AppSpecification": {"ImageUri": IMAGE, "ContainerEntrypoint": command}, **given}


@pytest.mark.usefixtures("engine")
def test_a_job_that_was_stopped_while_it_waited_is_not_run() -> None:
    assert end_of({}, "Stopping") == ("Stopped", None)


@pytest.mark.usefixtures("engine")
def test_an_error_of_the_service_itself_ends_the_job_with_its_message() -> None:
    assert end_of({}) == ("Failed", "InternalServerError: 'AppSpecification'")


@pytest.mark.usefixtures("engine")
def test_a_processing_job_needs_a_command_because_no_image_is_run() -> None:
    reason = "ClientError: without an image, a processing job needs a ContainerEntrypoint here."
    assert end_of(request_of([])) == ("Failed", reason)


@pytest.mark.usefixtures("engine")
def test_a_processing_job_ends_at_its_longest_run_time() -> None:
    request = request_of(
        ["python", "-c", "import threading; threading.Event().wait()"], StoppingCondition={"MaxRuntimeInSeconds": 0}
    )
    assert end_of(request) == ("Failed", "ClientError: the job ran longer than MaxRuntimeInSeconds, 0.")
