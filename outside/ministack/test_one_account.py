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

from local.ports import Held
from outside.ministack.emulated import ACCOUNT, REGION, Browser, Emulator, answers, eventually, running
from promotion import names
from promotion.config.loading import load
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
        eventually(lambda: answers(port), f"identity provider on port {port}")
        yield
    finally:
        server.stdin.close()
        server.wait(60)


def artifact() -> bytes:
    """A model.tar.gz of one small file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("config.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"{}"))
    return packed.getvalue()


def register(emulator: Emulator, version: int = 1) -> str:
    """A package with its artifact, and the event that SageMaker would send."""
    s3 = emulator.client("s3")
    if version == 1:
        s3.create_bucket(Bucket="promotion-models")
    s3.put_object(Bucket="promotion-models", Key="v1/model.tar.gz", Body=artifact())
    s3.put_object(
        Bucket="promotion-models", Key="v1/metrics.json", Body=json.dumps({"rougeL": 0.9, "exact_match": 0.5}).encode()
    )
    sagemaker = emulator.client("sagemaker")
    if version == 1:
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
            "ModelPackageVersion": version,
            "ModelApprovalStatus": names.PENDING,
        },
    }
    # Only AWS may put an event of source aws.sagemaker, here too: the test sends the rule's own output.
    queues = emulator.client("sqs")
    queue = queues.get_queue_url(QueueName=rule_target(emulator, event).rpartition(":")[2])["QueueUrl"]
    queues.send_message(QueueUrl=queue, MessageBody=json.dumps(event))
    return arn


def rule_target(emulator: Emulator, event: dict[str, Any]) -> str:
    """ARN of the queue to which a deployed rule would send this event."""
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
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The test installation, with an identity provider on this machine."""
    text = (ROOT / "tests" / "infra" / "promotion.toml").read_text(encoding="utf-8")
    text = f'{text}\n[advanced.mail]\nsettle = "0s"\n'
    place = tmp_path_factory.mktemp("config") / "promotion.toml"
    with Held() as held:
        place.write_text(text.replace("https://login.example.com/tenant/v2.0", f"http://127.0.0.1:{held.number}"))
        yield place


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


def test_a_new_installation_goes_on_where_the_last_one_stopped(config: Path, tmp_path: Path) -> None:
    """After destroy and deploy with `[advanced] ledger_table`, the next version follows, and no mail is sent twice."""
    with running(tmp_path) as emulator:
        first = emulator.deploy(config)
        register(emulator)
        eventually(lambda: approval_link(emulator, first["ApiUrl"]), "approval mail")
        table = first["LedgerTable"]
        eventually(lambda: projected(emulator, table), "projection")
        head, mails = head_of(emulator, table), len(emulator.mails())
        assert head > 0
        emulator.destroy()
        again = tmp_path / "again.toml"
        again.write_text(f'advanced.ledger_table = "{table}"\n{config.read_text(encoding="utf-8")}')
        second = emulator.deploy(again)
        assert (second["LedgerTable"], second["SigningKeyArn"]) == (table, first["SigningKeyArn"])
        register(emulator, 2)
        eventually(lambda: head_of(emulator, table) > head or None, "the next event")
        eventually(lambda: projected(emulator, table), "projection")
        assert len(emulator.mails()) == mails + 1, "version 2's request, and nothing of version 1 again"


def head_of(emulator: Emulator, table: str) -> int:
    """Number of the group's last event."""
    key = {"pk": {"S": f"GROUP#{GROUP}"}, "sk": {"S": "HEAD"}}
    item = emulator.client("dynamodb").get_item(TableName=table, Key=key).get("Item")
    return int(item["sequence"]["N"]) if item else 0


def projected(emulator: Emulator, table: str) -> bool | None:
    """Return True if every target is at the head."""
    known = json.loads(emulator.client("ssm").get_parameter(Name="/promotion/_service")["Parameter"]["Value"])
    items = emulator.client("dynamodb").scan(TableName=known["projections_table"])["Items"]
    come = [int(item["sequence"]["N"]) for item in items if item["pk"]["S"].startswith("GROUP#")]
    return True if len(come) == len(names.TARGETS) and set(come) == {head_of(emulator, table)} else None


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
