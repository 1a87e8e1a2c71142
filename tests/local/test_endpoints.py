"""Real-time endpoints in the local service: the project's own server behind AWS's own calls, following what is live."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from local import sample
from local.aws import event_stream
from local.aws.runtime import RuntimeApi
from local.service import LocalService
from tests.local.people import IMAGE, Person, mails_to
from tests.local.test_running import left_of

ROOT = Path(__file__).resolve().parents[2]
GROUP, ENDPOINT = "harbour-live", "promotion-dev-harbour-live"
SECTION = """
[advanced.environments.dev.endpoint]
groups = ["harbour-*"]
instance_type = "ml.m5.xlarge"
health_timeout_seconds = 900
"""
WORDS = ["<pad>", "</s>", "<unk>", "the", "ship", "tide", "is", "late", "early", "today", "harbour", "closed"]


def configured(folder: Path) -> Path:
    text = (ROOT / "promotion.toml").read_text(encoding="utf-8")
    path = folder / "promotion.toml"
    path.write_text(text + SECTION, encoding="utf-8")
    return path


def tiny(folder: Path, seed: int) -> bytes:
    """A T5 with random weights as a model.tar.gz."""
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(WORDS), d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, tie_word_embeddings=False,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return packed({path.name: path.read_bytes() for path in folder.iterdir()})


def packed(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


class Harbour:
    """A running service, its approver, and what a caller of the endpoint sees."""

    def __init__(self, service: LocalService, ann: Person) -> None:
        self.service, self.ann = service, ann
        self.sagemaker = service.session().client("sagemaker")
        self.runtime = service.session().client("sagemaker-runtime")
        self.version = 0

    def promote(self, content: bytes) -> None:
        """Registers a version and approves it for dev."""
        self.version += 1
        key = f"{GROUP}/{self.version}/model.tar.gz"
        self.service.session().client("s3").put_object(Bucket="promotion-models", Key=key, Body=content)
        if self.version == 1:
            self.sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
        self.sagemaker.create_model_package(
            ModelPackageGroupName=GROUP,
            InferenceSpecification={
                "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://promotion-models/{key}"}],
                "SupportedContentTypes": ["application/jsonlines"],
                "SupportedResponseMIMETypes": ["application/jsonlines"],
            },
            CustomerMetadataProperties={"requested_by": "dee@example.com"},
        )
        asked = f"{GROUP} v{self.version}"
        mail = self.service.wait_for(lambda: mails_to(self.service, "ann@example.com", asked), seconds=600)[0]
        assert self.ann.decide(mail["links"][0]).status_code == 303

    def post(self, path: str, **form: str) -> None:
        csrf = self.ann.json(f"/models/{GROUP}")["csrf"]
        answer = self.ann.browser.post(
            f"{self.service.url}{path}", data={**form, "csrf": csrf}, headers={"Origin": self.service.url}
        )
        assert answer.status_code == 200, answer.text

    def seen(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The endpoint as the model's page shows it, once it is as wanted."""

        def found() -> dict[str, Any] | None:
            endpoint = self.ann.json(f"/models/{GROUP}")["environments"][0]["endpoint"]
            return endpoint if endpoint is not None and wanted(endpoint) else None

        endpoint = self.service.wait_for(found, seconds=600)
        assert endpoint is not None
        return endpoint

    def serves(self, version: int) -> dict[str, Any]:
        return self.seen(lambda endpoint: endpoint["status"] == "InService" and endpoint["version"] == version)

    def invoked(self) -> dict[str, Any]:
        answer = self.runtime.invoke_endpoint(
            EndpointName=ENDPOINT,
            ContentType="application/jsonlines",
            Accept="application/jsonlines",
            Body=b'{"id": 0, "text_inputs": "the ship is late", "max_new_tokens": 4}\n',
        )
        assert answer["InvokedProductionVariant"] == "AllTraffic"
        found: dict[str, Any] = json.loads(answer["Body"].read())
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "promotion.cli", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "AWS_ENDPOINT_URL": self.service.aws_url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "PROMOTION_CONFIG": str(self.service.home / "promotion.toml"),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    folder = tmp_path_factory.mktemp("endpoints")
    with (
        LocalService(config=configured(folder), inference=False, home=folder / "home") as service,
        Person(service, "ann") as ann,
    ):
        ann.sign_in()
        yield Harbour(service, ann)


def test_an_endpoint_follows_what_is_live_to_the_end(harbour: Harbour, tmp_path: Path) -> None:
    # A promotion makes it.
    harbour.promote(tiny(tmp_path / "one", 1))
    harbour.serves(1)
    assert harbour.invoked()["approval_id"] == f"{GROUP}:1:dev:1"

    # What a caller gets wrong is the caller's to read, in the container's words.
    with pytest.raises(ClientError) as refused:
        harbour.runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=b'{"num_beams": 4}')
    assert refused.value.response["Error"]["Code"] == "ModelError"
    answer: Mapping[str, object] = {**refused.value.response}
    assert answer["OriginalStatusCode"] == 400

    # Streaming, by the same name.
    streamed = harbour.runtime.invoke_endpoint_with_response_stream(
        EndpointName=ENDPOINT, ContentType="application/json", Body=b'{"text_inputs": "the tide", "max_new_tokens": 3}'
    )
    body = b"".join(part["PayloadPart"]["Bytes"] for part in streamed["Body"])
    assert streamed["ContentType"].startswith("application/json")
    assert list(json.loads(body)) == ["generated_texts"]

    # The next version takes over, and a rollback takes it back.
    harbour.promote(tiny(tmp_path / "two", 2))
    harbour.serves(2)
    assert harbour.invoked()["approval_id"] == f"{GROUP}:2:dev:1"
    harbour.post(f"/models/{GROUP}/dev/rollback", reason="Version 2 misreads the tide.")
    harbour.serves(1)
    assert harbour.invoked()["approval_id"] == f"{GROUP}:1:dev:1"

    # A version that never gets healthy: the one before goes on serving, and people are told why.
    harbour.promote(sample.artifact(b"not to be opened"))
    failed = harbour.seen(lambda endpoint: endpoint["status"] == "Failed")
    assert failed["version"] == 1
    assert "The weights do not fit config.json" in failed["problem"]
    assert harbour.invoked()["approval_id"] == f"{GROUP}:1:dev:1"
    [mail] = harbour.service.wait_for(
        lambda: [m for m in mails_to(harbour.service, "ann@example.com", GROUP) if "endpoint failed" in m["subject"]]
    )
    assert "The weights do not fit config.json" in mail["text"]
    assert "Version 1 goes on answering there." in " ".join(mail["text"].split())
    said = harbour.command("status", GROUP)
    assert f"the endpoint {ENDPOINT} failed and serves v1" in said.stdout, said.stderr

    # A revocation falls back, as the live record does.
    harbour.post(f"/models/{GROUP}/versions/3/revoke", reason="It can not be loaded.")
    harbour.serves(1)

    # An alarm takes a deployment back; an operator has it tried again once the alarm is over.
    cloudwatch = harbour.service.session().client("cloudwatch")
    cloudwatch.set_alarm_state(AlarmName=f"{ENDPOINT}-errors", StateValue="ALARM", StateReason="Too many 5xx.")
    harbour.promote(tiny(tmp_path / "four", 4))
    alarmed = harbour.seen(lambda endpoint: endpoint["status"] == "Failed" and "alarm" in endpoint["problem"])
    assert (alarmed["version"], harbour.invoked()["approval_id"]) == (1, f"{GROUP}:1:dev:1")
    cloudwatch.set_alarm_state(AlarmName=f"{ENDPOINT}-errors", StateValue="OK", StateReason="Quiet again.")
    again = harbour.command("endpoint", "restore", GROUP, "dev", "--reason", "The errors were another service's.")
    assert again.returncode == 0, again.stderr
    harbour.serves(4)

    # Models and configurations of what served before are gone.
    def left() -> list[str]:
        lists = (
            ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
            ("list_models", "Models", "ModelName"),
        )
        return [
            each[name]
            for operation, key, name in lists
            for page in harbour.sagemaker.get_paginator(operation).paginate()
            for each in page[key]
        ]

    # A configuration goes first and its model after it.
    harbour.service.wait_for(lambda: len(left()) == 2)
    serving = harbour.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    assert left() == [serving, serving]

    # One command takes it away.
    removed = harbour.command("endpoint", "remove", GROUP, "dev", "--reason", "Nobody calls it.")
    assert removed.returncode == 0, removed.stderr
    harbour.seen(lambda endpoint: endpoint["removed"] and endpoint["status"] == "Withdrawn")
    pages = harbour.sagemaker.get_paginator("list_endpoints").paginate()
    assert [endpoint for page in pages for endpoint in page["Endpoints"]] == []
    with pytest.raises(ClientError, match="not found"):
        harbour.invoked()
    assert not [line for line in left_of(harbour.service.home / "endpoints") if "inference" in line]


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(range(256)) * 300])
def test_a_frame_is_what_botocore_reads(payload: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(event_stream.event("PayloadPart", payload))
    message: Any
    [message] = list(buffer)
    assert message.headers[":event-type"] == "PayloadPart"
    assert message.headers[":message-type"] == "event"
    assert message.payload == payload


def test_a_frame_that_was_damaged_is_noticed() -> None:
    damaged = bytearray(event_stream.event("PayloadPart", b"payload"))
    damaged[-6] ^= 1
    buffer = EventStreamBuffer()
    buffer.add_data(bytes(damaged))
    with pytest.raises(Exception, match=r"[Cc]hecksum"):
        list(buffer)


class Container(BaseHTTPRequestHandler):
    """Streams three parts, or breaks off after one; answers with the custom attributes that it was given."""

    protocol_version = "HTTP/1.1"
    release = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        attributes = self.headers.get("X-Amzn-SageMaker-Custom-Attributes", "")
        self.send_response(200)
        self.send_header("Content-Type", self.headers["Accept"])
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", f"got {attributes}")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(b"one ")
        if attributes == "break":
            self.wfile.write(b"ff\r\nthe rest never")
            self.wfile.flush()
            self.close_connection = True
            return
        # The second part waits until the first has arrived at the caller: nothing may hold it back.
        assert self.release.wait(60)
        self._chunk(b"two ")
        self._chunk(b"three")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, part: bytes) -> None:
        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def runtime() -> Iterator[RuntimeApi]:
    server = HTTPServer(("127.0.0.1", 0), Container)
    Container.release.clear()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield RuntimeApi(lambda name: server.server_port if name == "there" else None, lambda name: "AllTraffic")
    server.shutdown()
    thread.join()
    server.server_close()


def streamed(runtime: RuntimeApi, attributes: str) -> tuple[dict[str, str], Iterator[bytes]]:
    from local.aws.operations import Operation

    handler = runtime.handlers()["sagemaker", "InvokeEndpointWithResponseStream"]
    environ = {
        "CONTENT_TYPE": "application/json",
        "HTTP_X_AMZN_SAGEMAKER_ACCEPT": "text/event-stream",
        "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES": attributes,
    }
    operation = Operation("sagemaker", "InvokeEndpointWithResponseStream", {"EndpointName": "there"})
    status, headers, body = handler(None, operation, environ, b"{}")  # type: ignore[arg-type]
    assert status == "200 OK"
    assert not isinstance(body, bytes)
    return dict(headers), body


def read(frames: bytes) -> Any:
    buffer = EventStreamBuffer()
    buffer.add_data(frames)
    return next(buffer)


def test_parts_of_a_stream_arrive_as_the_container_sends_them(runtime: RuntimeApi) -> None:
    headers, parts = streamed(runtime, "trace=7")
    assert headers["X-Amzn-SageMaker-Content-Type"] == "text/event-stream"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "got trace=7"
    assert read(next(parts)).payload == b"one "
    Container.release.set()
    assert b"".join(read(part).payload for part in parts) == b"two three"


def test_a_stream_that_breaks_off_ends_in_an_exception(runtime: RuntimeApi) -> None:
    _, parts = streamed(runtime, "break")
    *_, last = [read(part) for part in parts]
    assert last.headers[":exception-type"] == "ModelStreamError"
    assert "broke off" in json.loads(last.payload)["Message"]
    assert issubclass(EventStreamError, ClientError)
