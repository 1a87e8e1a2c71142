"""SNS on moto, and a webhook on a server of ours with a certificate of ours."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from promotion.aws.messages.channels import ChannelFailed, Topic, Webhook
from promotion.errors import Invalid
from promotion.rendering.channels import Notice
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


class Chat:
    """An https server that takes what is posted, and answers with `status`."""

    def __init__(self, folder: Path) -> None:
        self.status, self.location, self.taken = 200, "", list[dict[str, Any]]()
        chat = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat.taken.append({"path": self.path, "body": json.loads(body)})
                self.send_response(chat.status)
                if chat.location:
                    self.send_header("Location", chat.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.authority, key = _certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self.server.server_port}/hooks/T0/secret"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def webhook(self, secret: str | None = None, style: str = "slack") -> Webhook:
        session = requests.Session()
        session.trust_env, session.verify = False, str(self.authority)
        return Webhook(as_client(FakeSecrets(secret or self.address)), "arn:secret", style, session)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    chat = Chat(tmp_path_factory.mktemp("chat"))
    yield chat
    chat.server.shutdown()
    chat.server.server_close()


@pytest.fixture
def chat(server: Chat) -> Chat:
    server.status, server.location = 200, ""
    server.taken.clear()
    return server


def test_a_chat_gets_the_notice_in_its_own_form(chat: Chat) -> None:
    chat.webhook().tell(TOLD)
    chat.webhook(json.dumps({"url": chat.address}), style="teams").tell(TOLD)
    first, second = chat.taken
    assert first["path"] == "/hooks/T0/secret"
    assert first["body"]["text"] == "summaries v3 is live in prod"
    assert second["body"]["attachments"][0]["content"]["type"] == "AdaptiveCard"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 302])
def test_a_refusal_is_raised_without_the_address(chat: Chat, status: int) -> None:
    chat.status = status
    chat.location = "https://elsewhere.example/" if status == 302 else ""
    with pytest.raises(ChannelFailed, match=str(status)) as failed:
        chat.webhook().tell(TOLD)
    assert "hooks" not in str(failed.value)
    assert len(chat.taken) == 1, "a redirect is not followed"


def test_a_chat_that_cannot_be_reached_is_raised_without_the_address(chat: Chat) -> None:
    # The same server, but for whoever does not know its certificate; and a port where nobody listens.
    for webhook in (
        Webhook(as_client(FakeSecrets(chat.address)), "arn:secret", "slack"),
        Webhook(as_client(FakeSecrets("https://127.0.0.1:9/hooks/T0/secret")), "arn:secret", "slack"),
    ):
        with pytest.raises(ChannelFailed) as failed:
            webhook.tell(TOLD)
        assert "hooks" not in str(failed.value)
        assert failed.value.__suppress_context__
    assert chat.taken == []


@pytest.mark.parametrize(
    "secret",
    ["http://127.0.0.1/hooks", "hooks.example.com/x", "{}", "[]", '{"url": 7}', "file:///etc/passwd", "https://",
     "https://user:word@hooks.example.com/x"],
)  # fmt: skip
def test_only_https_addresses_are_posted_to(chat: Chat, secret: str) -> None:
    with pytest.raises(Invalid, match="no https"):
        chat.webhook(secret).tell(TOLD)
    assert chat.taken == []


def test_a_topic_gets_text_and_attributes_to_filter_by(aws: Any) -> None:
    sns, sqs = aws.client("sns"), aws.client("sqs")
    topic = sns.create_topic(Name="releases")["TopicArn"]
    queue = sqs.create_queue(QueueName="listener")["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:listener")
    Topic(sns, topic).tell(TOLD)
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert body["Subject"] == "summaries v3 is live in prod"
    assert body["Message"].endswith("See the decision: https://promotion.example.com/approvals/x")
    assert body["MessageAttributes"]["environment"] == {"Type": "String", "Value": "prod"}


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chat for tests")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "chat.pem", folder / "chat.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private
