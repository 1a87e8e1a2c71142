"""The inference machine as Amazon States Language: resolve, verify, transform, score, report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from promotion import names

POLL_S = 30
# Each poll adds 11 entries to a Standard execution's history of at most 25,000; 1,800 polls leave room for the rest.
MOST_ROUNDS = 1800
# The score's job ends by its StoppingCondition within an hour; the rest is for its time before it runs.
SCORE_POLLS = 240
# Time for preparation, and for waiting for instances, in addition to both jobs.
_BESIDES = timedelta(hours=4)

_THROTTLED = {
    "ErrorEquals": [
        "SageMaker.ThrottlingException",
        "SageMaker.ResourceLimitExceededException",
        "SageMaker.SdkClientException",
    ],
    "IntervalSeconds": 10,
    "BackoffRate": 2,
    "MaxAttempts": 6,
}
# SageMaker's errors that its API doesn't declare all have this name, so that they are retried twice rather than six
# times.
_UNNAMED = {
    "ErrorEquals": ["SageMaker.SageMakerException", "SageMaker.AmazonSageMakerException"],
    "IntervalSeconds": 3,
    "BackoffRate": 2,
    "MaxAttempts": 2,
}
_LAMBDA = {
    "ErrorEquals": [
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
    ],
    "IntervalSeconds": 2,
    "BackoffRate": 2,
    "MaxAttempts": 5,
}
_DETAIL = {"Detail.$": "States.JsonMerge($.report, $.outcome, false)"}
_EVENTS = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "BackoffRate": 2, "MaxAttempts": 5}


def polls(longest: timedelta) -> tuple[int, int]:
    """Return the seconds between two checks of a job, and the number of checks after which it is stopped."""
    every = max(POLL_S, math.ceil(longest.total_seconds() / MOST_ROUNDS))
    return every, math.ceil(longest.total_seconds() / every)


def definition(
    *,
    environment: str,
    prepare_function: str,
    bus: str,
    settings: Mapping[str, Any],
    longest_transform: timedelta = timedelta(hours=12),
) -> dict[str, Any]:
    """Return the definition of an environment's machine. The prepare function gets `settings` as a field of its input.

    Requests are written field by field, because Step Functions can't take a whole request from its input.
    """
    unprepared = {
        "environment": environment,
        "run_id.$": "$$.Execution.Name",
        "request.$": "$$.Execution.Input",
        "status": "Failed",
        "error.$": "$.error",
    }
    # Fixed here rather than taken from the prepared request, so that a run's data can't change what the run may access.
    role = settings["execution_role_arn"]
    vpc = {"VpcConfig.$": "$.create_model.VpcConfig"} if settings.get("subnets") else {}
    states: dict[str, Any] = {
        "Settings": {"Type": "Pass", "Result": dict(settings), "ResultPath": "$.settings", "Next": "Prepare"},
        "Prepare": {
            "Type": "Task",
            "Comment": "Resolves what is live, verifies the artifact, and writes the requests for the states below.",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": prepare_function, "Payload.$": "$"},
            "OutputPath": "$.Payload",
            "TimeoutSeconds": 900,
            "Retry": [_LAMBDA],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "ReportUnprepared"}],
            "Next": "IsThereAnythingToRun",
        },
        "IsThereAnythingToRun": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.run", "BooleanEquals": True, "Next": "CreateModel"},
                {"Variable": "$.unmeasured", "IsPresent": True, "Next": "ReportUnmeasured"},
            ],
            "Default": "NothingToRun",
        },
        "ReportUnmeasured": {**_put_event(bus, {"Detail.$": "$.report"}), "Next": "NothingToRun"},
        "NothingToRun": {"Type": "Succeed"},
        "CreateModel": _sagemaker(
            "createModel",
            _fields("create_model", "ModelName", "Containers", "EnableNetworkIsolation")
            | {"ExecutionRoleArn": role}
            | vpc,
            next_state="StartTransform",
        ),
        "StartTransform": _sagemaker(
            "createTransformJob",
            _fields(
                "transform",
                *(
                    "TransformJobName",
                    "ModelName",
                    "Environment",
                    "BatchStrategy",
                    "MaxPayloadInMB",
                    "MaxConcurrentTransforms",
                ),
                *("ModelClientConfig", "TransformInput", "TransformOutput", "TransformResources", "DataProcessing"),
            ),
            next_state="BeginTransform",
        ),
        **_wait_for(
            "Transform",
            describe="describeTransformJob",
            stop="stopTransformJob",
            key="TransformJobName",
            name="$.job_name",
            status="TransformJobStatus",
            then="StartScore",
            rounds=polls(longest_transform),
        ),
        "StartScore": _sagemaker(
            "createProcessingJob",
            _fields(
                "score",
                *("ProcessingJobName", "AppSpecification", "ProcessingInputs", "ProcessingOutputConfig"),
                *("ProcessingResources", "StoppingCondition", "NetworkConfig"),
            )
            | {"RoleArn": role},
            next_state="BeginScore",
        ),
        **_wait_for(
            "Score",
            describe="describeProcessingJob",
            stop="stopProcessingJob",
            key="ProcessingJobName",
            name="$.score_job_name",
            status="ProcessingJobStatus",
            then="DeleteModel",
            rounds=(POLL_S, SCORE_POLLS),
        ),
        "DeleteModel": {
            # The evidence is valid even if the clean-up fails; a remaining model costs nothing.
            **_sagemaker("deleteModel", {"ModelName.$": "$.model_name"}, next_state="Conclude"),
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.left_behind", "Next": "Conclude"}],
        },
        "Conclude": {"Type": "Pass", "Result": {"status": "Completed"}, "ResultPath": "$.outcome", "Next": "Report"},
        "Report": {**_put_event(bus, _DETAIL), "Next": "Completed"},
        "Completed": {"Type": "Succeed"},
        "CleanUp": {
            **_sagemaker("deleteModel", {"ModelName.$": "$.model_name"}, next_state="ConcludeFailure"),
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.left_behind", "Next": "ConcludeFailure"}],
        },
        "ConcludeFailure": {
            "Type": "Pass",
            "Parameters": {"status": "Failed", "error.$": "$.error"},
            "ResultPath": "$.outcome",
            "Next": "ReportFailure",
        },
        "ReportFailure": {**_put_event(bus, _DETAIL), "Next": "Failed"},
        "ReportUnprepared": {**_put_event(bus, {"Detail": unprepared}), "Next": "Failed"},
        "Failed": {
            "Type": "Fail",
            "Error": "InferenceRunFailed",
            "Cause": "The event that was put on the service's bus says why.",
        },
    }
    return {
        "Comment": f"One inference run on what is live in {environment}.",
        "StartAt": "Settings",
        "TimeoutSeconds": int((longest_transform + _BESIDES).total_seconds()),
        "States": states,
    }


def _fields(request: str, *names_: str) -> dict[str, str]:
    return {f"{name}.$": f"$.{request}.{name}" for name in names_}


def _sagemaker(action: str, parameters: Mapping[str, Any], *, next_state: str) -> dict[str, Any]:
    """Return a SageMaker call whose answer isn't used; its failure leads to the clean-up."""
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::aws-sdk:sagemaker:{action}",
        "Parameters": dict(parameters),
        "ResultPath": None,
        "TimeoutSeconds": 120,
        "Retry": [_THROTTLED, _UNNAMED],
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "CleanUp"}],
        "Next": next_state,
    }


def _wait_for(
    title: str, *, describe: str, stop: str, key: str, name: str, status: str, then: str, rounds: tuple[int, int]
) -> dict[str, Any]:
    """Return states that poll a job until it ends, stop it if it doesn't, and put the reason into `$.error`.

    `rounds`: seconds between two polls, and the number of polls.
    """
    every, most = rounds
    job = f"$.{title.lower()}_job"
    counter = f"$.{title.lower()}_polls"
    return {
        f"Begin{title}": {"Type": "Pass", "Result": {"n": 0}, "ResultPath": counter, "Next": f"WaitFor{title}"},
        f"WaitFor{title}": {"Type": "Wait", "Seconds": every, "Next": f"Describe{title}"},
        f"Describe{title}": {
            **_sagemaker(describe, {f"{key}.$": name}, next_state=f"Has{title}Ended"),
            "ResultPath": job,
        },
        f"Has{title}Ended": {
            "Type": "Choice",
            "Choices": [
                {"Variable": f"{job}.{status}", "StringEquals": "Completed", "Next": then},
                {
                    "And": [
                        {"Variable": f"{job}.{status}", "StringEquals": "Failed"},
                        {"Variable": f"{job}.FailureReason", "IsPresent": True},
                    ],
                    "Next": f"{title}Failed",
                },
                {
                    "Or": [
                        {"Variable": f"{job}.{status}", "StringEquals": "Failed"},
                        {"Variable": f"{job}.{status}", "StringEquals": "Stopped"},
                    ],
                    "Next": f"{title}Stopped",
                },
                {"Variable": f"{counter}.n", "NumericGreaterThanEquals": most, "Next": f"Stop{title}"},
            ],
            "Default": f"Count{title}",
        },
        f"Count{title}": {
            "Type": "Pass",
            "Parameters": {"n.$": f"States.MathAdd({counter}.n, 1)"},
            "ResultPath": counter,
            "Next": f"WaitFor{title}",
        },
        f"{title}Failed": {
            "Type": "Pass",
            "Parameters": {"Error": f"{title}JobFailed", "Cause.$": f"{job}.FailureReason"},
            "ResultPath": "$.error",
            "Next": "CleanUp",
        },
        f"Stop{title}": {
            **_sagemaker(stop, {f"{key}.$": name}, next_state=f"{title}Stopped"),
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.not_stopped", "Next": f"{title}Stopped"}],
        },
        f"{title}Stopped": {
            "Type": "Pass",
            "Parameters": {
                "Error": f"{title}JobStopped",
                "Cause": "The job was stopped, failed without a reason, or took too long.",
            },
            "ResultPath": "$.error",
            "Next": "CleanUp",
        },
    }


def _put_event(bus: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state that puts a run's final event on the service's bus; `detail` is the entry's Detail or Detail.$."""
    entry = {"Source": names.INFERENCE_SOURCE, "DetailType": names.INFERENCE_COMPLETED, "EventBusName": bus, **detail}
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::events:putEvents",
        "Parameters": {"Entries": [entry]},
        "ResultPath": None,
        "TimeoutSeconds": 60,
        "Retry": [_EVENTS],
    }
