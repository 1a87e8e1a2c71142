"""SageMaker pipelines: found by name or ARN, started once for each token, run, and failing; moto's succeed at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.sagemaker.exceptions import ResourceNotFound, ValidationError
from moto.sagemaker.models import SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemaker.utils import get_pipeline_execution_from_arn

# Set by the local service: called with (pipeline, execution, its parameters by name) for each started execution.
runners: list[Callable[[Any, Execution, dict[str, str]], None]] = []


class Execution:
    """An execution in moto's store, with the fields that change while it runs."""

    def __init__(self, kept: Any) -> None:
        self._kept = kept

    @property
    def arn(self) -> str:
        arn: str = self._kept.arn
        return arn

    def begin(self) -> None:
        self._set("Executing")

    def succeed(self) -> None:
        self._set("Succeeded")

    def fail(self, reason: str) -> None:
        self._kept.pipeline_execution_failure_reason = reason[:1024]
        self._set("Failed")

    def _set(self, status: str) -> None:
        self._kept.last_modified_time = utcnow()
        self._kept.pipeline_execution_status = status


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    start = SageMakerResponse.start_pipeline_execution

    def start_pipeline_execution(self: Any) -> ActionResult:
        given = json.loads(self.body)
        name = str(given["PipelineName"]).rpartition("/")[2]
        pipelines = self.sagemaker_backend.pipelines
        if name not in pipelines:
            raise ResourceNotFound(message=f"Pipeline '{given['PipelineName']}' does not exist.")
        pipeline = pipelines[name]
        token = given.get("ClientRequestToken")
        for kept in pipeline.pipeline_executions.values():
            if token and kept.client_request_token == token:
                return ActionResult({"PipelineExecutionArn": kept.arn})
        parameters = _parameters(pipeline, given.get("PipelineParameters") or ())
        self.body = json.dumps({**given, "PipelineName": name})
        self.params = {**given, "PipelineName": name} if isinstance(self.params, dict) else self.params
        answer = start(self)
        execution = Execution(pipeline.pipeline_executions[answer.result["PipelineExecutionArn"]])
        if runners:
            execution.begin()
            runners[0](pipeline, execution, parameters)
        return answer

    describe = SageMakerModelBackend.describe_pipeline_execution

    def describe_pipeline_execution(self: Any, pipeline_execution_arn: str) -> dict[str, Any]:
        """Return the failure reason, too, which is always empty in moto."""
        found: dict[str, Any] = describe(self, pipeline_execution_arn)
        kept = get_pipeline_execution_from_arn(self.pipelines, pipeline_execution_arn)
        return {**found, "FailureReason": kept.pipeline_execution_failure_reason}

    SageMakerResponse.start_pipeline_execution = start_pipeline_execution
    SageMakerModelBackend.describe_pipeline_execution = describe_pipeline_execution


def _parameters(pipeline: Any, given: Any) -> dict[str, str]:
    """Return every parameter of the definition with its value; refuse parameters that the definition lacks."""
    known = {
        each["Name"]: each.get("DefaultValue")
        for each in json.loads(pipeline.pipeline_definition).get("Parameters", ())
    }
    values = {each["Name"]: each["Value"] for each in given}
    if unknown := sorted(set(values) - set(known)):
        raise ValidationError(
            message=f"Pipeline {pipeline.pipeline_name} has no parameters named {', '.join(unknown)}."
        )
    found = {name: values.get(name, default) for name, default in known.items()}
    if missing := sorted(name for name, value in found.items() if value is None):
        raise ValidationError(message=f"Parameters without a default have to be given: {', '.join(missing)}.")
    return {name: str(value) for name, value in found.items()}
