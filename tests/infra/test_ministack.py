"""The stack deployed by the real `cdk` to an emulator that is not ours, and an approval taken on it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from promotion import names
from promotion.config import load
from tests.infra.emulated import ACCOUNT, REGION, Browser, Emulator, eventually, free_port, running
from tests.infra.synthesized import ROOT

CLIENT_SECRET = "of-the-test"
GROUP = "summaries"


@contextmanager
def identity_provider(port: int, redirect: str, config: Path) -> Iterator[None]:
    """The local service's provider, for one client."""
    from local.identity_provider import people

    settings = {
        "port": port,
        "issuer": f"http://127.0.0.1:{port}",
        "client_id": "promotion",
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [redirect],
        "post_logout_redirect_uris": [redirect],
        "groups_claim": "groups",
        "cookie_key": "of-the-test",
        "people": people(load(config)),
    }
    server = subprocess.Popen(
        ["node", str(ROOT / "local" / "idp" / "server.mjs")], stdin=subprocess.PIPE, cwd=ROOT, stderr=subprocess.DEVNULL
    )
    assert server.stdin is not None
    server.stdin.write(json.dumps(settings).encode() + b"\n")
    server.stdin.flush()
    try:
        yield
    finally:
        server.stdin.close()
        server.wait(10)


def artifact() -> bytes:
    """A model.tar.gz of one small file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("config.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"{}"))
    return packed.getvalue()


def register(emulator: Emulator) -> str:
    """A package with its artifact, and the event that SageMaker would send."""
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket="promotion-models")
    s3.put_object(Bucket="promotion-models", Key="v1/model.tar.gz", Body=artifact())
    s3.put_object(
        Bucket="promotion-models", Key="v1/metrics.json", Body=json.dumps({"rougeL": 0.9, "exact_match": 0.5}).encode()
    )
    sagemaker = emulator.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        InferenceSpecification={
            "Containers": [{"Image": "image:1", "ModelDataUrl": "s3://promotion-models/v1/model.tar.gz"}],
            "SupportedContentTypes": ["application/jsonlines"],
            "SupportedResponseMIMETypes": ["application/jsonlines"],
        },
        ModelMetrics={
            "ModelQuality": {
                "Statistics": {"ContentType": "application/json", "S3Uri": "s3://promotion-models/v1/metrics.json"}
            }
        },
        CustomerMetadataProperties={"requested_by": "dee@example.com"},
    )["ModelPackageArn"]
    event = {
        "source": names.SAGEMAKER_SOURCE,
        "detail-type": names.PACKAGE_STATE_CHANGE,
        "resources": [arn],
        "detail": {
            "ModelPackageArn": arn,
            "ModelPackageGroupName": GROUP,
            "ModelPackageVersion": 1,
            "ModelApprovalStatus": names.PENDING,
        },
    }
    # Nobody but AWS may put an event of source aws.sagemaker, here as there: what the rule would start is started.
    emulator.client("lambda").invoke(
        FunctionName=rule_target(emulator, event), InvocationType="Event", Payload=json.dumps(event).encode()
    )
    return arn


def rule_target(emulator: Emulator, event: dict[str, Any]) -> str:
    """The function that a deployed rule would start by this event."""
    events = emulator.client("events")
    complete = {"id": "1", "account": ACCOUNT, "time": "2026-11-20T12:00:00Z", "region": REGION, **event}
    found: list[str] = [
        target["Arn"]
        for rule in events.list_rules()["Rules"]
        if "EventPattern" in rule
        and events.test_event_pattern(EventPattern=rule["EventPattern"], Event=json.dumps(complete))["Result"]
        for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    ]
    (target,) = found
    return target


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test installation, with an identity provider on this machine."""
    text = (Path(__file__).parent / "promotion.toml").read_text(encoding="utf-8")
    place = tmp_path_factory.mktemp("config") / "promotion.toml"
    place.write_text(text.replace("https://login.example.com/tenant/v2.0", f"http://127.0.0.1:{free_port()}"))
    return place


def test_an_approval_passes_on_what_cdk_deployed(config: Path, tmp_path: Path) -> None:
    with running(tmp_path) as emulator:
        outputs = emulator.deploy(config)
        api = outputs["ApiUrl"]
        assert outputs["CallbackUrl"] == f"{api}/callback"
        emulator.client("secretsmanager").put_secret_value(
            SecretId=outputs["IdentitySecretArn"], SecretString=json.dumps({"client_secret": CLIENT_SECRET})
        )
        port = int(load(config).identity.issuer.rpartition(":")[2])
        with identity_provider(port, outputs["CallbackUrl"], config):
            arn = register(emulator)
            link = eventually(lambda: approval_link(emulator, api), "approval mail")
            approve(emulator, api, link)
            live = eventually(lambda: live_record(emulator), "live parameter")
        assert live["model_package_arn"] == arn
        assert live["approved_by"] == ["ann"]
        package = emulator.client("sagemaker").describe_model_package(ModelPackageName=arn)
        assert package["ModelApprovalStatus"] == names.APPROVED
        assert package["CustomerMetadataProperties"]["dev"] == names.APPROVED


def approve(emulator: Emulator, api: str, link: str) -> None:
    """Ann signs in, reads the request and approves; without a session the request stays closed."""
    browser = Browser(emulator)
    _, stranger = browser.open(link, Accept="application/json")
    assert stranger.status == 401
    browser.sign_in(api, "ann")
    _, page = browser.open(link, Accept="application/json")
    asked: dict[str, Any] = json.loads(page.body)
    assert asked["may_decide"] is True, asked
    fields = {"verdict": names.APPROVED, "reason": "It reads well.", "csrf": asked["csrf"]}
    _, decided = browser.post(link, fields, Accept="application/json")
    assert decided.status == 200, decided.body


def approval_link(emulator: Emulator, api: str) -> str | None:
    for mail in emulator.mails():
        if found := re.search(re.escape(api) + r"/approvals/[\w.~-]+", mail["BodyText"]):
            return found[0]
    return None


def live_record(emulator: Emulator) -> dict[str, Any] | None:
    ssm = emulator.client("ssm")
    try:
        value = ssm.get_parameter(Name=names.live_parameter(names.DEFAULT_PREFIX, GROUP, "dev"))["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return None
    record: dict[str, Any] = json.loads(value)
    return record
