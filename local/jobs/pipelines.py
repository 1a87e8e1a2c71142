"""A small executor of SageMaker pipelines: processing steps in sequence, each a job with the pipeline's role."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local import REGION
from local.aws.callers import service_session
from local.clients import any_client
from local.moto_patches import pipelines as mended
from local.moto_patches.pipelines import Execution

log = logging.getLogger("local.pipelines")
_POLL_SECONDS = 0.1


class StepFailed(Exception):
    """A step failed; the message is the execution's failure reason."""


class PipelineExecutor:
    """Run executions in the background when they are started.

    https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/
    """

    def __init__(self, aws_url: str) -> None:
        self._aws_url = aws_url
        self._workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pipeline")
        self._stopping = Event()
        mended.runners[:] = [self._take]

    def stop(self) -> None:
        mended.runners.clear()
        self._stopping.set()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _take(self, pipeline: Any, execution: Execution, parameters: dict[str, str]) -> None:
        self._workers.submit(self._run, pipeline, execution, parameters)

    def _run(self, pipeline: Any, execution: Execution, parameters: dict[str, str]) -> None:
        log.info("pipeline %s starts", execution.arn)
        try:
            session = service_session(pipeline.role_arn, "pipeline", "sagemaker.amazonaws.com")
            client = any_client("sagemaker", region_name=REGION, endpoint_url=self._aws_url, **session)
            for step in in_order(json.loads(pipeline.pipeline_definition)["Steps"]):
                self._step(client, step, execution, parameters, pipeline.role_arn)
        except (StepFailed, ClientError, BotoCoreError, PermissionError) as failed:
            execution.fail(str(failed))
        except Exception as failed:
            log.exception("pipeline %s broke", execution.arn)
            execution.fail(f"InternalServerError: {failed}")
        else:
            execution.succeed()
        log.info("pipeline %s ended", execution.arn)

    def _step(
        self, client: Any, step: Mapping[str, Any], execution: Execution, parameters: Mapping[str, str], role: str
    ) -> None:
        run = execution.arn.rpartition("/")[2]
        request = filled(step["Arguments"], {**{f"Parameters.{k}": v for k, v in parameters.items()},
                                             "Execution.PipelineExecutionId": run})  # fmt: skip
        match step["Type"]:
            case "Processing":
                self._process(client, step, request, run, role)
            case "RegisterModel":
                register(client, request)
            case kind:
                raise StepFailed(f"Step {step['Name']}: only Processing and RegisterModel steps run here, not {kind}.")

    def _process(self, client: Any, step: Mapping[str, Any], request: dict[str, Any], run: str, role: str) -> None:
        name = f"pipelines-{run}-{step['Name']}"[:63]
        client.create_processing_job(**{"RoleArn": role, **request, "ProcessingJobName": name})
        while (job := client.describe_processing_job(ProcessingJobName=name))["ProcessingJobStatus"] in (
            "InProgress",
            "Stopping",
        ):
            if self._stopping.wait(_POLL_SECONDS):
                raise StepFailed("The local service was stopped.")
        if job["ProcessingJobStatus"] != "Completed":
            raise StepFailed(f"Step {step['Name']} {job['ProcessingJobStatus']}: {job.get('FailureReason', '')}")


def register(client: Any, request: Mapping[str, Any]) -> None:
    """Register a model package; SageMaker's step makes the group if there is none."""
    group = request["ModelPackageGroupName"]
    try:
        client.describe_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        client.create_model_package_group(ModelPackageGroupName=group)
    client.create_model_package(**request)


def in_order(steps: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Return the steps in order of their dependencies.

    Raises:
        StepFailed: the dependencies are circular, or name a missing step.
    """
    waiting, done = list(steps), set[str]()
    while waiting:
        ready = [step for step in waiting if set(step.get("DependsOn", ())) <= done]
        if not ready:
            raise StepFailed(f"Steps wait for each other: {', '.join(step['Name'] for step in waiting)}.")
        for step in ready:
            yield step
            done.add(step["Name"])
            waiting.remove(step)


def filled(value: Any, known: Mapping[str, str]) -> Any:
    """Return a step's arguments with `{"Get": "Parameters.X"}` and `{"Std:Join": …}` replaced by their values.

    Raises:
        StepFailed: a name is unknown.
    """
    if isinstance(value, list):
        return [filled(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Get"}:
        if value["Get"] not in known:
            raise StepFailed(f"{value['Get']} is nothing that is known here.")
        return known[value["Get"]]
    if set(value) == {"Std:Join"}:
        return str(value["Std:Join"]["On"]).join(str(filled(each, known)) for each in value["Std:Join"]["Values"])
    return {key: filled(each, known) for key, each in value.items()}
