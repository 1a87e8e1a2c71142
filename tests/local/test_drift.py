"""After production, end to end: drifting input, a mail that asks, a retraining pipeline, and the loop begins again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.service import LocalService
from promotion.ledger.events import Event
from tests.local.people import Person
from tests.local.watched import Watched

GROUP = "winter-logs"
RECORDS = 50
SETTINGS = """
groups = ["*"]
[mail]
sender = "models@example.com"
[identity]
issuer = "https://login.example.com/tenant/v2.0"
client_id = "promotion"
[artifacts]
buckets = ["promotion-models"]
[inference]
bucket = "promotion-models"
[[environments]]
name = "prod"
approver_group = { id = "ml-prod-approvers", name = "ML approvers, prod" }
approvers = ["ann@example.com"]
[advanced.drift.retraining."winter-*"]
pipeline = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/retrain-harbour-summariser"
parameters = { Group = "{group}", Input = "{input}", Seconds = "2" }
[[advanced.drift.monitors]]
schedule = "winter-*"
group = "winter-logs"
environment = "prod"
bucket = "promotion-models"
[channels.releases]
topic = "arn:aws:sns:us-east-1:123456789012:releases"
"""


class Stage(Watched):
    """The group with inference runs in prod."""

    def start_run(self) -> None:
        """An inference run of prod, as a schedule would start it."""
        machines = self.client("stepfunctions").list_state_machines()["stateMachines"]
        machine = next(each for each in machines if each["name"].endswith("inference-prod"))
        given = json.dumps({"group": GROUP, "environment": "prod"})
        self.client("stepfunctions").start_execution(stateMachineArn=machine["stateMachineArn"], input=given)

    def mail(self, text: str, seconds: float = 300) -> dict[str, Any]:
        """The newest mail whose subject has `text`."""

        def found() -> dict[str, Any] | None:
            return next((mail for mail in self.service.mailbox() if text in mail["subject"]), None)

        mail = self.service.wait_for(found, seconds=seconds)
        assert mail is not None
        return mail

    def runs(self, count: int) -> Event:
        """The last of `count` recorded runs, once there are as many."""
        self.service.wait_for(lambda: len(self.events("Inference Completed")) == count, seconds=900)
        return self.events("Inference Completed")[-1]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "promotion.toml").write_text(SETTINGS)
    with LocalService(config=tmp_path / "promotion.toml") as running, Stage(running, GROUP) as made:
        yield made


def test_drifting_input_is_told_retrained_on_and_asks_again(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from examples import retraining
    from examples import train_summarizer as summarizer
    from examples.corpus import held_out_logs

    service, sns, sqs = stage.service, stage.client("sns"), stage.client("sqs")
    topic, queue = sns.create_topic(Name="releases")["TopicArn"], sqs.create_queue(QueueName="heard")["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:heard")
    session: Any = stage
    retraining.create(GROUP, retraining.BUCKET, session)
    for path in summarizer.write_held_out(tmp_path, held_out_logs(RECORDS)):
        stage.client("s3").upload_file(str(path), retraining.BUCKET, f"{GROUP}/prod/{path.name}")
    # What it says doesn't matter here, and saying less takes less time.
    monkeypatch.setattr(summarizer, "LONGEST_SUMMARY", 8)
    model = summarizer.train(tmp_path / "model", steps=1, quiet=True)
    summarizer.register(
        summarizer.pack(model), {"rougeL": 0.1}, group=GROUP, bucket=retraining.BUCKET, requested_by="dee",
        task=summarizer.TASK, baseline=summarizer.baseline(), session=session,
    )  # fmt: skip

    ann = Person(service, "ann")
    asked = stage.mail(f"{GROUP} v1")
    ann.sign_in(asked["links"][0])
    assert ann.decide(asked["links"][0]).status_code == 303
    assert stage.runs(1).data.get("drifting") is False, "these are the logs that it was trained on"

    retraining.put_winter(GROUP, "prod", retraining.BUCKET, count=RECORDS, session=session)
    stage.start_run()
    assert stage.runs(2).data.get("drifting") is True
    (drift,) = stage.events("Drift Detected")
    assert drift.data["drift"]["vocabulary_psi"] > 0.25
    told = stage.mail("drift detected")
    assert "A retraining is being started: the pipeline retrain-harbour-summariser" in " ".join(told["text"].split())
    assert told["links"][0] == f"{service.url}/models/{GROUP}"

    sagemaker = stage.client("sagemaker")

    def ended() -> dict[str, Any] | None:
        executions = sagemaker.list_pipeline_executions(PipelineName=retraining.PIPELINE)["PipelineExecutionSummaries"]
        assert len(executions) <= 1
        return next((each for each in executions if each["PipelineExecutionStatus"] != "Executing"), None)

    execution = service.wait_for(ended, seconds=900)
    assert execution is not None
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution
    (started,) = service.wait_for(lambda: stage.events("Retraining Started"))
    assert started.data["execution"] == execution["PipelineExecutionArn"]

    again = stage.mail(f"{GROUP} v2")
    assert ann.decide(again["links"][0]).status_code == 303
    last = stage.runs(3)
    assert (last.version, last.data.get("drifting")) == (2, False), "version 2 knows winter"

    heard: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        heard += [json.loads(message["Body"]) for message in messages]
    assert any("is drifting in prod" in message["Subject"] for message in heard)
    assert any(f"{service.url}/approvals/" in message["Message"] for message in heard)
    ann.browser.close()
