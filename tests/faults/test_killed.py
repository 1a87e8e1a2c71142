"""Real processes, really killed, at three named points; AWS is moto's server, so that what they did outlives them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from moto.server import ThreadedMotoServer

from local import moto_patches
from promotion import names
from promotion.aws.ledger_table.checking import check
from tests.fakes import CONFIG_TEXT, GROUP, a_package, a_registration
from tests.faults import resources

# Runs one function on one event, and kills itself, as hard as can be, right after the n-th call of a kind had its effect.
CHILD = """
import json, os, signal, sys
import botocore.client
point, function, event = sys.argv[1:]
original, seen = botocore.client.BaseClient._make_api_call, []
def call(client, operation, given):
    answer = original(client, operation, given)
    seen.append(f"{client.meta.service_model.service_name}:{operation}")
    name, _, number = point.partition("#")
    if name and seen[-1] == name and seen.count(name) == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
botocore.client.BaseClient._make_api_call = call
import importlib
print(json.dumps(importlib.import_module(f"lambdas.handlers.{function}").handler(json.loads(event), None), default=str))
"""


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    moto_patches.apply()
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    (tmp_path / names.CONFIG_FILE).write_text(CONFIG_TEXT, encoding="utf-8")
    try:
        with resources.settings(tmp_path) as environment:
            reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
            urllib.request.urlopen(reset, timeout=60).close()
            resources.deploy(environment)
            boto3.client("sesv2").create_email_identity(EmailIdentity="example.com")
            boto3.client("events").create_event_bus(Name="promotion")
            specification: Any = {
                "Containers": [{"Image": "i"}], "SupportedContentTypes": ["a/b"], "SupportedResponseMIMETypes": ["a/b"],
            }  # fmt: skip
            boto3.client("sagemaker").create_model_package(
                ModelPackageGroupName=GROUP, InferenceSpecification=specification
            )
            yield f"http://{host}:{port}"
    finally:
        resources.forget()
        server.stop()


def run(function: str, event: dict[str, Any], *, killed_after: str = "") -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, killed_after, function, json.dumps(event)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if killed_after else 0), done.stderr[-2000:]
    assert "FunctionError" not in done.stdout


REGISTER = {
    "operation": "register",
    "arguments": {
        "package": msgspec.to_builtins(a_package(1)),
        "evidence": msgspec.to_builtins(a_registration()),
    },
}
WAKE = {
    "Records": [
        {
            "messageId": "m", "receiptHandle": "r", "body": json.dumps({"group": GROUP}),
            "attributes": {"ApproximateReceiveCount": "1"},
        }
    ]
}  # fmt: skip


def differences() -> list[str]:
    from lambdas.handlers import verify

    return [each.difference.line for _, found in check(verify.installation()) for each in found]


def mails() -> list[Any]:
    from moto.core.base_backend import BackendDict
    from moto.ses.models import ses_backends

    backends: BackendDict[Any] = ses_backends
    return list(backends["123456789012"]["us-east-1"].sent_messages)


def events() -> list[str]:
    from lambdas.shared.dependencies import ledger

    return [event.kind for event in ledger().events(GROUP)]


def test_killed_after_the_append_and_before_the_answer(aws: str) -> None:
    run("record", REGISTER, killed_after="dynamodb:TransactWriteItems")
    run("record", REGISTER)
    assert events() == [names.POLICY_CHANGED, names.MODEL_REGISTERED, names.APPROVAL_REQUESTED]
    run("on_projection_due", WAKE)
    assert differences() == []


def test_killed_between_a_target_and_its_cursor(aws: str) -> None:
    run("record", REGISTER)
    run("on_projection_due", WAKE, killed_after="ssm:PutParameter")
    assert any(line.startswith(f"projection {GROUP} parameters") for line in differences())
    run("on_projection_due", WAKE)
    assert differences() == []
    assert len(mails()) == 1


def test_killed_between_a_mail_and_its_cursor_the_one_case_of_two_mails(aws: str) -> None:
    run("record", REGISTER)
    run("on_projection_due", WAKE, killed_after="sesv2:SendEmail")
    run("on_projection_due", WAKE)
    run("on_projection_due", WAKE)
    assert differences() == []
    assert len(mails()) == 2
