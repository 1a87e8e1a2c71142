"""An account as `promotion doctor` examines it, and its findings."""

from __future__ import annotations

from typing import Any

import boto3

from promotion import names
from promotion.aws.doctor.findings import Account, Finding
from promotion.config.loading import Config, parse
from tests.adapters.conftest import LEDGER, PROJECTIONS, Aws
from tests.fakes import CONFIG, CONFIG_TEXT
from tests.identity.provider import Provider


def account(config: Config | None = CONFIG, **more: Any) -> Account:
    given: dict[str, Any] = {"client": boto3.client, "region": "us-east-1", "prefix": "/promotion"}
    return Account(**{**given, "config": config, **more})


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def configured(provider: Provider, **more: str) -> Config:
    text = CONFIG_TEXT.replace("https://login.example.com/tenant/v2.0", provider.issuer)
    return parse(text + "".join(f"\n{line}" for line in more.values()))


def deployed(aws: Aws, **more: Any) -> dict[str, Any]:
    """A service as the stack writes it down, with what it stands on."""
    sqs = aws.client("sqs")
    aws.dynamodb.update_table(
        TableName=LEDGER,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        DeletionProtectionEnabled=True,
    )
    for name in (LEDGER, PROJECTIONS):
        aws.dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
    secret = aws.client("secretsmanager").create_secret(Name="identity", SecretString="{}")["ARN"]
    return {
        "api_url": "http://127.0.0.1:9",
        "region": "us-east-1",
        "ledger_table": LEDGER,
        "projections_table": PROJECTIONS,
        "signing_key_arn": aws.signer.key_id,
        "wake_queue_url": sqs.create_queue(QueueName="wake")["QueueUrl"],
        "dead_letter_queue_url": sqs.create_queue(QueueName="dead")["QueueUrl"],
        "undelivered_queue_url": sqs.create_queue(QueueName="undelivered")["QueueUrl"],
        "identity_secret_arn": secret,
        "alarm_topic": aws.client("sns").create_topic(Name="alarms")["TopicArn"],
        "policy_digest": CONFIG.policy_digest(),
        "release": names.RELEASE,
        **more,
    }
