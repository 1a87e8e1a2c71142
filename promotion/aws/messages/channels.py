"""Notification channels besides mail: an SNS topic, or a chat webhook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from promotion.config.settings import Channel
from promotion.errors import Invalid
from promotion.rendering.channels import STYLES, Notice, plain

if TYPE_CHECKING:
    import requests
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient

    from promotion.aws.clients import ClientFor

CONNECT_S, ANSWER_S = 3.05, 10


class Topic:
    """An SNS topic; kind, group and environment are attributes, for subscribers' filters."""

    def __init__(self, client: SNSClient, arn: str) -> None:
        self._client = client
        self._arn = arn

    def notify(self, notice: Notice) -> None:
        subject, text = plain(notice)
        attributes = {"kind": notice.kind, "model_package_group": notice.group, "environment": notice.environment}
        self._client.publish(
            TopicArn=self._arn,
            Subject=subject,
            Message=text,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value
            },
        )


class Webhook:
    """A chat's incoming webhook. Its address is a secret that allows posting, so no message contains it."""

    def __init__(
        self, secrets: SecretsManagerClient, secret: str, style: str, session: requests.Session | None = None
    ) -> None:
        self._secrets = secrets
        self._secret = secret
        self._style = style
        self._session = session

    def notify(self, notice: Notice) -> None:
        """Post a notice once.

        Raises:
            Invalid: the secret holds no https address.
            ChannelFailed: the chat can't be reached, or rejected the notice.
        """
        # Imported here, so that only installations with a chat channel pay for the import.
        import requests

        session = self._session or requests.Session()
        try:
            answer = session.post(
                self._address(),
                json=STYLES[self._style](notice),
                timeout=(CONNECT_S, ANSWER_S),
                # A redirect would send the notice to another address.
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # The text of these errors contains the address.
            raise ChannelFailed(f"the webhook can't be reached: {type(error).__name__}") from None
        if not 200 <= answer.status_code < 300:
            raise ChannelFailed(f"the webhook answered {answer.status_code}")

    def _address(self) -> str:
        text = str(self._secrets.get_secret_value(SecretId=self._secret)["SecretString"]).strip()
        address = _address_in(text)
        parts = urlsplit(address)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise Invalid(self._secret, 'the secret holds no https:// address, nor {"url": "https://…"}.')
        return address


def sender(channel: Channel, client: ClientFor) -> Topic | Webhook:
    """Return the sender of a configured channel; `client` returns the boto3 client of a service."""
    if channel.topic is not None:
        return Topic(client("sns"), channel.topic)
    return Webhook(client("secretsmanager"), channel.webhook_secret or "", channel.style)


class ChannelFailed(Exception):
    """A channel rejected a notice; a retry may succeed."""


def _address_in(text: str) -> str:
    try:
        document: object = json.loads(text)
    except ValueError:
        return text
    return str(document.get("url", "")) if isinstance(document, dict) else ""
