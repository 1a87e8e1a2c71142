"""SageMaker Model Monitor, end to end: a schedule's execution travels the template's own rule, and a chat hears of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples import monitoring
from examples.corpus import logs
from examples.retraining import winter_logs
from inference.scoring.drift import profile
from local.service import LocalService
from tests.chat import SECRET_PATH, Chat
from tests.local.people import Person, register
from tests.local.watched import Watched

GROUP = "monitored"
BUCKET = "promotion-models"
SCHEDULE = "Monitored-hourly"
RECORDS = 60
AN_HOUR = 3600
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:chat"
SETTINGS = f"""
groups = ["*"]
[mail]
sender = "models@example.com"
[identity]
issuer = "https://login.example.com/tenant/v2.0"
client_id = "promotion"
[artifacts]
buckets = ["{BUCKET}"]
[[environments]]
name = "prod"
approver_group = {{ id = "ml-prod-approvers", name = "ML approvers, prod" }}
approvers = ["ann@example.com"]
[[environments.gates]]
metric = "rougeL"
min = 0.5
[[advanced.drift.monitors]]
schedule = "monitored-*"
group = "{GROUP}"
environment = "prod"
bucket = "{BUCKET}"
[channels.chat]
webhook_secret = "{SECRET}"
[advanced.channels.chat]
events = ["Approval Requested", "Drift Detected"]
"""


@dataclass
class Stage(Watched):
    """The group with a chat beside it."""

    chat: Chat

    def drifts(self) -> bool:
        (state,) = [state for state in self.ledger.environments() if state.group == GROUP]
        return state.drift

    def heard(self, text: str) -> dict[str, Any]:
        """Wait for a message to the chat with `text` in it, and return it."""

        def found() -> list[dict[str, Any]]:
            return [post for post in self.chat.posted if text in json.dumps(post, ensure_ascii=False)]

        return self.service.wait_for(found)[0]

    def put(self, texts: Iterable[str]) -> None:
        body = "\n".join(json.dumps({"text_inputs": text}) for text in texts)
        self.client("s3").put_object(Bucket=BUCKET, Key=f"{GROUP}/prod/input.jsonl", Body=body.encode())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "promotion.toml").write_text(SETTINGS)
    with Chat(tmp_path) as chat:

        def trusting(template: dict[str, Any]) -> dict[str, Any]:
            """The chat's certificate is our own, and moto chooses the end of a secret's ARN."""
            edited: dict[str, Any] = json.loads(json.dumps(template).replace(f'"{SECRET}"', f'"{SECRET}-??????"'))
            for resource in edited["Resources"].values():
                if resource.get("Properties", {}).get("Handler") == "lambdas.handlers.on_event_published.handler":
                    resource["Properties"]["Environment"]["Variables"]["REQUESTS_CA_BUNDLE"] = str(chat.certificate)
            return edited

        config = tmp_path / "promotion.toml"
        with (
            LocalService(config=config, template_edit=trusting, inference=False) as running,
            Stage(running, GROUP, chat) as made,
        ):
            made.client("secretsmanager").create_secret(Name="chat", SecretString=json.dumps({"url": chat.address}))
            yield made


def test_violations_of_a_monitor_are_drift_and_a_clean_execution_ends_it(stage: Stage) -> None:
    service, s3 = stage.service, stage.client("s3")
    session: Any = stage
    trained_on = [log.text for log in logs(400, seed=1)]
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/baseline.json", Body=json.dumps(profile(trained_on)).encode())
    baseline = f"s3://{BUCKET}/{GROUP}/baseline.json"
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/metrics.json", Body=b'{"metrics": {"rougeL": {"value": 0.61}}}')
    register(
        service,
        GROUP,
        ModelMetrics={
            "ModelQuality": {
                "Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{BUCKET}/{GROUP}/metrics.json"}
            }
        },
        DriftCheckBaselines={
            "ModelDataQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": baseline}}
        },
    )
    asked = service.wait_for(service.mailbox)[0]
    with Person(service, "ann") as ann:
        ann.sign_in(asked["links"][0])
        assert ann.decide(asked["links"][0]).status_code == 303
    service.wait_for(lambda: stage.events("Model Promoted"))

    assert monitoring.registered_baseline(GROUP, session=session) == baseline
    # The schedule is due at each full hour: from five past, an hour on makes it due once, and no other comes by itself.
    here = time.time() + service.advance_clock(0)
    service.advance_clock(AN_HOUR - here % AN_HOUR + AN_HOUR / 12)
    stage.put(log.text for log in winter_logs(RECORDS))
    monitoring.create(SCHEDULE, f"s3://{BUCKET}/{GROUP}/prod/input.jsonl", baseline, BUCKET, session=session)
    service.advance_clock(AN_HOUR)
    (found,) = service.wait_for(lambda: stage.events("Drift Detected"), seconds=900)
    assert (found.version, found.environment, found.data["source"]) == (1, "prod", "monitor monitored-hourly")
    assert "baseline_drift_check on vocabulary" in found.data["reason"]
    assert found.data["report"].endswith("/constraint_violations.json")
    assert stage.drifts()
    (execution,) = stage.client("sagemaker").list_monitoring_executions(MonitoringScheduleName=SCHEDULE)[
        "MonitoringExecutionSummaries"
    ]
    assert execution["MonitoringExecutionStatus"] == "CompletedWithViolations"
    told = service.wait_for(lambda: [mail for mail in service.mailbox() if "drift detected" in mail["subject"]])[0]
    assert "Model Monitor found" in told["text"]

    asking, drifting = stage.heard("/approvals/"), stage.heard("drifting")
    said = json.dumps(asking, ensure_ascii=False)
    assert "rougeL 0.61, passed: at least 0.5" in said, "the evidence"
    assert asked["links"][0] in said, "the same link as the mail's"
    assert f"{service.url}/models/{GROUP}" in json.dumps(drifting)
    for post in (asking, drifting):
        kinds = {block["type"] for block in post["blocks"]}
        assert kinds == {"section"}, "no block that could decide: actions and buttons are others"
        assert not any("accessory" in block for block in post["blocks"])
    assert SECRET_PATH not in service.logs(), "who has the address can write into the chat"

    stage.put(trained_on[:RECORDS])
    service.advance_clock(AN_HOUR)
    service.wait_for(lambda: not stage.drifts(), seconds=900)
    assert (len(stage.events("Drift Detected")), len(stage.events("Drift Ended"))) == (1, 1)
