"""The inference machine, executed by moto's interpreter through every branch.

What its tasks answer is scripted by moto's own mocked responses; what they are asked is read from the history. The requests
come from the real prepare function, so that machine and function can't drift apart.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.mocking.mock_config import (
    MockedResponseReturn,
    MockedResponseThrow,
    MockTestCase,
    StateMockedResponses,
)

from infra import machine
from lambdas.handlers.prepare_inference import requests
from lambdas.shared import dependencies
from promotion import names
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.domain.transform_format import transform_format

POLLS = 3
MODEL = LiveModel(
    model_package_group="summaries",
    model_package_version=3,
    model_package_arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/summaries/3",
    environment="dev",
    containers=(
        LiveContainer(
            image="123456789012.dkr.ecr.us-east-1.amazonaws.com/inference:1",
            image_digest="",
            model_data_url="s3://promotion-models/v3/model.tar.gz",
            model_data_version_id="",
            sha256="ab" * 32,
            manifest_sha256="cd" * 32,
        ),
    ),
    content_types=("application/jsonlines",),
    approved_by=("ann",),
    approved_at="2026-11-20T12:00:00Z",
    approval_id="summaries.3.dev.1",
    sequence=7,
    key_id="key",
    record={},
)
DONE: dict[str, Any] = {}
BEGIN = ExecutionWorker.__init__


@dataclass(frozen=True)
class Throw:
    """A task that fails."""

    error: str
    cause: str = "because"


@dataclass
class Run:
    """The record of an execution."""

    status: str
    states: list[str]
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def report(self) -> dict[str, Any]:
        """The detail of the one event that it put."""
        entries = [
            entry
            for state in ("Report", "ReportFailure", "ReportUnprepared", "ReportUnmeasured")
            for asked in self.asked.get(state, [])
            for entry in asked["Entries"]
        ]
        assert len(entries) == 1
        assert (entries[0]["Source"], entries[0]["DetailType"]) == (names.INFERENCE_SOURCE, names.INFERENCE_COMPLETED)
        assert entries[0]["EventBusName"] == "promotion"
        detail: dict[str, Any] = entries[0]["Detail"]
        return detail


class Answers(list[Any]):
    """moto picks an answer by the number of retries; a polling loop needs the next one each time, and the last for ever."""

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: Any) -> Any:
        return self.pop(0) if super().__len__() > 1 else super().__getitem__(0)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The answer of the prepare function for MODEL."""
    monkeypatch.setenv(names.CONFIG, str(Path(__file__).with_name("promotion.toml")))
    dependencies.config.cache_clear()
    settings = {"execution_role_arn": "arn:aws:iam::123456789012:role/x", "evidence_bucket": "evidence"}
    yield requests(
        MODEL,
        run="dev-v3-1",
        inputs="s3://promotion-models/summaries/dev/input.jsonl",
        references="s3://promotion-models/summaries/dev/references.jsonl",
        output="s3://evidence/summaries/dev/dev-v3-1",
        settings=settings,
        context="s3://evidence/summaries/dev/dev-v3-1/context/",
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/inference:1",
        form=transform_format("input.jsonl", (), ()),
    )
    dependencies.config.cache_clear()


def definition() -> dict[str, Any]:
    """The machine as it is deployed, but quick: no waits worth the name, and a few polls at most."""
    document = machine.definition(
        environment="dev",
        prepare_function="arn:aws:lambda:us-east-1:123456789012:function:prepare",
        bus="promotion",
        settings={"environment": "dev", "execution_role_arn": "arn:aws:iam::123456789012:role/x"},
    )
    text = json.dumps(document)
    text = text.replace(f'"Seconds": {machine.POLL_S}', '"Seconds": 0')
    text = re.sub(r'"NumericGreaterThanEquals": \d+', f'"NumericGreaterThanEquals": {POLLS}', text)
    quick: dict[str, Any] = json.loads(text)
    for state in quick["States"].values():
        for retry in state.get("Retry", []):
            retry["IntervalSeconds"] = 1
            retry["BackoffRate"] = 1
            retry["MaxAttempts"] = min(retry["MaxAttempts"], 1)
    return quick


def script(prepared: dict[str, Any], **answers: Any) -> dict[str, list[Any]]:
    """Answers of a run in which all goes well, with `answers` (one, or a list in order) in their place."""
    usual: dict[str, Any] = {
        "Prepare": {"Payload": prepared},
        "CreateModel": DONE,
        "StartTransform": DONE,
        "DescribeTransform": {"TransformJobStatus": "Completed"},
        "StopTransform": DONE,
        "StartScore": DONE,
        "DescribeScore": {"ProcessingJobStatus": "Completed"},
        "StopScore": DONE,
        "DeleteModel": DONE,
        "CleanUp": DONE,
        "Report": DONE,
        "ReportFailure": DONE,
        "ReportUnprepared": DONE,
        "ReportUnmeasured": DONE,
    }
    return {state: answer if isinstance(answer, list) else [answer] for state, answer in {**usual, **answers}.items()}


def scripted(answers: dict[str, list[Any]]) -> MockTestCase:
    """Answers as moto's interpreter takes them."""
    states = []
    for state, given in answers.items():
        responses = StateMockedResponses(state, state, [])
        made = [
            MockedResponseThrow(0, 0, one.error, one.cause)
            if isinstance(one, Throw)
            else MockedResponseReturn(0, 0, one)
            for one in given
        ]
        responses.mocked_responses = Answers(made)
        states.append(responses)
    return MockTestCase("inference", "scripted", states)


def execute(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[Any]]) -> Run:
    """Runs the machine to its end on scripted answers."""

    def begin_scripted(self: ExecutionWorker, *arguments: Any, **named: Any) -> None:
        BEGIN(self, *arguments, **{**named, "mock_test_case": scripted(answers)})

    monkeypatch.setattr(ExecutionWorker, "__init__", begin_scripted)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        client = boto3.client("stepfunctions")
        arn = client.create_state_machine(
            name="inference", definition=json.dumps(definition()), roleArn="arn:aws:iam::123456789012:role/machine"
        )["stateMachineArn"]
        started = client.start_execution(
            stateMachineArn=arn, input=json.dumps({"group": "summaries", "environment": "dev"})
        )["executionArn"]
        deadline = time.monotonic() + 30
        while (found := client.describe_execution(executionArn=started))["status"] == "RUNNING":
            assert time.monotonic() < deadline, client.get_execution_history(executionArn=started)["events"][-3:]
            time.sleep(0.02)
        events = client.get_execution_history(executionArn=started, maxResults=1000)["events"]
    run = Run(found["status"], [])
    for event in events:
        if "stateEnteredEventDetails" in event:
            run.states.append(event["stateEnteredEventDetails"]["name"])
        if "taskScheduledEventDetails" in event:
            asked = json.loads(event["taskScheduledEventDetails"]["parameters"])
            run.asked.setdefault(run.states[-1], []).append(asked)
    return run


def test_a_run_goes_from_prepare_to_report(monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any]) -> None:
    run = execute(monkeypatch, script(prepared))
    assert run.status == "SUCCEEDED"
    assert run.report == {**prepared["report"], "status": "Completed"}
    assert run.asked["CreateModel"] == [prepared["create_model"]]
    assert run.asked["StartTransform"] == [prepared["transform"]]
    assert run.asked["StartScore"] == [prepared["score"]]
    assert run.asked["DeleteModel"] == [{"ModelName": prepared["model_name"]}]
    (asked,) = run.asked["Prepare"]
    assert asked["Payload"]["group"] == "summaries"
    assert asked["Payload"]["settings"]["environment"] == "dev"


def test_nothing_live_runs_nothing(monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any]) -> None:
    run = execute(monkeypatch, script(prepared, Prepare={"Payload": {"run": False, "reason": "nothing is live"}}))
    assert (run.status, run.states[-1]) == ("SUCCEEDED", "NothingToRun")
    assert set(run.asked) == {"Prepare"}


def test_an_input_that_is_missing_is_reported_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any]
) -> None:
    report = {"environment": "dev", "status": names.SKIPPED, "reason": "There is no input"}
    nothing = {"run": False, "reason": "There is no input", "unmeasured": True, "report": report}
    run = execute(monkeypatch, script(prepared, Prepare={"Payload": nothing}))
    assert (run.status, run.states[-1], run.report) == ("SUCCEEDED", "NothingToRun", report)
    assert set(run.asked) == {"Prepare", "ReportUnmeasured"}


def test_an_artifact_that_changed_is_reported_and_nothing_predicted(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any]
) -> None:
    run = execute(monkeypatch, script(prepared, Prepare=Throw("IntegrityError", "the bytes are others")))
    assert run.status == "FAILED"
    assert "CreateModel" not in run.states
    assert run.report["status"] == "Failed"
    assert run.report["error"]["Error"] == "IntegrityError"
    assert run.report["environment"] == "dev"
    assert run.report["request"] == {"group": "summaries", "environment": "dev"}


@pytest.mark.parametrize("step", ["CreateModel", "StartTransform", "DescribeTransform", "StartScore", "DescribeScore"])
def test_after_any_failed_step_the_model_is_deleted_and_the_run_reported(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any], step: str
) -> None:
    run = execute(monkeypatch, script(prepared, **{step: Throw("SageMaker.ValidationException", "no such thing")}))
    assert run.status == "FAILED"
    assert run.asked["CleanUp"] == [{"ModelName": prepared["model_name"]}]
    assert run.report == {
        **prepared["report"],
        "status": "Failed",
        "error": {"Error": "SageMaker.ValidationException", "Cause": "no such thing"},
    }


@pytest.mark.parametrize(("title", "key"), [("Transform", "TransformJobStatus"), ("Score", "ProcessingJobStatus")])
def test_a_failed_job_is_reported_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any], title: str, key: str
) -> None:
    failed = {key: "Failed", "FailureReason": "ClientError: the manifest differs"}
    run = execute(monkeypatch, script(prepared, **{f"Describe{title}": failed}))
    assert run.status == "FAILED"
    assert run.report["error"] == {"Error": f"{title}JobFailed", "Cause": "ClientError: the manifest differs"}


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
@pytest.mark.parametrize(("title", "key"), [("Transform", "TransformJobStatus"), ("Score", "ProcessingJobStatus")])
def test_a_job_that_ends_without_a_reason_is_reported(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any], title: str, key: str, status: str
) -> None:
    run = execute(monkeypatch, script(prepared, **{f"Describe{title}": {key: status}}))
    assert run.status == "FAILED"
    assert run.report["error"]["Error"] == f"{title}JobStopped"


@pytest.mark.parametrize(("title", "key"), [("Transform", "TransformJobStatus"), ("Score", "ProcessingJobStatus")])
def test_a_job_is_waited_for_and_stopped_when_it_takes_for_ever(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any], title: str, key: str
) -> None:
    waited = execute(
        monkeypatch,
        script(prepared, **{f"Describe{title}": [{key: "InProgress"}, {key: "InProgress"}, {key: "Completed"}]}),
    )
    assert waited.status == "SUCCEEDED"
    assert waited.states.count(f"WaitFor{title}") == 3
    endless = execute(monkeypatch, script(prepared, **{f"Describe{title}": {key: "InProgress"}}))
    assert endless.status == "FAILED"
    assert len(endless.asked[f"Stop{title}"]) == 1
    assert endless.report["error"]["Error"] == f"{title}JobStopped"


def test_a_job_that_cannot_be_stopped_does_not_hold_up_the_report(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any]
) -> None:
    answers = script(
        prepared,
        DescribeTransform={"TransformJobStatus": "InProgress"},
        StopTransform=Throw("SageMaker.ValidationException"),
    )
    run = execute(monkeypatch, answers)
    assert run.report["error"]["Error"] == "TransformJobStopped"


def test_evidence_is_reported_even_when_the_model_cannot_be_deleted(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any]
) -> None:
    run = execute(monkeypatch, script(prepared, DeleteModel=Throw("SageMaker.ValidationException")))
    assert (run.status, run.report["status"]) == ("SUCCEEDED", "Completed")


def test_a_failure_is_reported_even_when_the_model_cannot_be_deleted(
    monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any]
) -> None:
    stuck = Throw("SageMaker.ValidationException")
    run = execute(monkeypatch, script(prepared, StartTransform=Throw("Broken"), CleanUp=stuck))
    assert (run.status, run.report["error"]["Error"]) == ("FAILED", "Broken")


@pytest.mark.parametrize("step", ["CreateModel", "StartTransform", "StartScore", "Report"])
def test_a_throttled_step_is_tried_again(monkeypatch: pytest.MonkeyPatch, prepared: dict[str, Any], step: str) -> None:
    throttled = Throw("SageMaker.ThrottlingException", "slow down")
    run = execute(monkeypatch, script(prepared, **{step: [throttled, DONE]}))
    assert run.status == "SUCCEEDED"
    assert len(run.asked[step]) == 2


def test_every_task_has_a_timeout_a_retry_and_somewhere_to_go_when_it_fails() -> None:
    states = machine.definition(environment="dev", prepare_function="f", bus="b", settings={"execution_role_arn": "r"})[
        "States"
    ]
    last_words = {"Report", "ReportFailure", "ReportUnprepared", "ReportUnmeasured"}
    for name, state in states.items():
        if state["Type"] == "Task":
            assert state["TimeoutSeconds"] > 0, name
            assert state["Retry"], name
            assert ("Catch" in state) is (name not in last_words), name


def test_a_long_run_fits_into_a_history() -> None:
    entries_per_poll = 11
    for longest in (timedelta(hours=12), timedelta(days=2)):
        every, rounds = machine.polls(longest)
        assert every * rounds >= longest.total_seconds()
        assert (rounds + machine.SCORE_POLLS) * entries_per_poll < 25_000
