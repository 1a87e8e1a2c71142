"""SNS on moto, and a webhook on a server of ours with a certificate of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from promotion.aws.messages.channels import ChannelFailed, Topic, Webhook, sender
from promotion.config.settings import Channel
from promotion.errors import Invalid
from promotion.rendering.channels import Notice
from tests.chat import Chat
from tests.fakes import as_client

TOLD = Notice(
    kind="Model Promoted",
    group="summaries",
    environment="prod",
    title="summaries v3 is live in prod",
    lines=("Approved by Ann.",),
    link=("See the decision", "https://promotion.example.com/approvals/x"),
)


class FakeSecrets:
    def __init__(self, text: str) -> None:
        self.text = text

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803 - as boto3 names it
        return {"SecretString": self.text}


def webhook(chat: Chat, secret: str | None = None, style: str = "slack") -> Webhook:
    session = requests.Session()
    session.trust_env, session.verify = False, str(chat.certificate)
    return Webhook(as_client(FakeSecrets(secret or chat.address)), "arn:secret", style, session)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    with Chat(tmp_path_factory.mktemp("chat")) as chat:
        yield chat


@pytest.fixture
def chat(server: Chat) -> Chat:
    server.status, server.location = 200, ""
    server.posted.clear()
    return server


def test_a_chat_gets_the_notice_in_its_own_form(chat: Chat) -> None:
    webhook(chat).notify(TOLD)
    webhook(chat, json.dumps({"url": chat.address}), style="teams").notify(TOLD)
    first, second = chat.posted
    assert first["text"] == "summaries v3 is live in prod"
    assert second["attachments"][0]["content"]["type"] == "AdaptiveCard"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 302])
def test_a_refusal_is_raised_without_the_address(chat: Chat, status: int) -> None:
    chat.status = status
    chat.location = "https://elsewhere.example/" if status == 302 else ""
    with pytest.raises(ChannelFailed, match=str(status)) as failed:
        webhook(chat).notify(TOLD)
    assert "secret-address" not in str(failed.value)
    assert len(chat.posted) == 1, "a redirect is not followed"


def test_a_chat_that_cannot_be_reached_is_raised_without_the_address(chat: Chat) -> None:
    # The same server, but for whoever does not know its certificate; and a port where nobody listens.
    for unreachable in (
        Webhook(as_client(FakeSecrets(chat.address)), "arn:secret", "slack"),
        Webhook(as_client(FakeSecrets("https://127.0.0.1:9/services/secret-address")), "arn:secret", "slack"),
    ):
        with pytest.raises(ChannelFailed) as failed:
            unreachable.notify(TOLD)
        assert "secret-address" not in str(failed.value)
        assert failed.value.__suppress_context__
    assert chat.posted == []


@pytest.mark.parametrize(
    "secret",
    ["http://127.0.0.1/hooks", "hooks.example.com/x", "{}", "[]", '{"url": 7}', "file:///etc/passwd", "https://",
     "https://user:word@hooks.example.com/x"],
)  # fmt: skip
def test_only_https_addresses_are_posted_to(chat: Chat, secret: str) -> None:
    with pytest.raises(Invalid, match="no https"):
        webhook(chat, secret).notify(TOLD)
    assert chat.posted == []


def test_a_configured_webhook_is_posted_to_at_the_address_in_its_secret() -> None:
    secrets = FakeSecrets("http://chat.example.com/hook")
    made = sender(Channel(webhook_secret="arn:of-the-hook", style="teams"), lambda name: as_client(secrets))
    with pytest.raises(Invalid) as refused:
        made.notify(TOLD)
    assert refused.value.field == "arn:of-the-hook"


def test_a_topic_gets_text_and_attributes_to_filter_by(aws: Any) -> None:
    sns, sqs = aws.client("sns"), aws.client("sqs")
    topic = sns.create_topic(Name="releases")["TopicArn"]
    queue = sqs.create_queue(QueueName="listener")["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:listener")
    Topic(sns, topic).notify(TOLD)
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert body["Subject"] == "summaries v3 is live in prod"
    assert body["Message"].endswith("See the decision: https://promotion.example.com/approvals/x")
    assert body["MessageAttributes"]["environment"] == {"Type": "String", "Value": "prod"}
