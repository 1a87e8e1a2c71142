"""A direct run: exactly the approved bytes, or nothing, and the service is told which."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.server import ThreadedMotoServer

from examples.registering import pack
from inference.__main__ import main
from inference.batch import storage
from promotion.client.artifact import hash_artifact
from promotion.client.folder_artifact import hash_folder, list_folder
from promotion.client.live_record import signed_bytes
from tests.inference.samples import sentences

GROUP, BUCKET, BUS = "harbour-logs", "promotion-models", "promotion"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class Context:
    """An account with an approved model, and a queue that hears the service's bus."""

    tmp_path: Path
    key: ec.EllipticCurvePrivateKey
    queue: str

    def approve(self, archive: bytes, environment: str = "dev", *, approval: str = "approval-9", **fields: Any) -> None:
        """Put an artifact there and say that it is live."""
        s3 = boto3.client("s3")
        version = s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=archive)["VersionId"]
        path = self.tmp_path / "approved.tar.gz"
        path.write_bytes(archive)
        with path.open("rb") as stream:
            hashed = hash_artifact(stream)
        container = {
            "image": "image:1", "image_digest": "sha256:0", "model_data_url": f"s3://{BUCKET}/model.tar.gz",
            "model_data_version_id": version, "sha256": hashed.sha256, "manifest_sha256": hashed.manifest.sha256,
            "environment": {"HF_TASK": "text2text-generation", **fields.pop("variables", {})},
        }  # fmt: skip
        record = {
            "schema": 1, "model_package_group": GROUP, "model_package_version": 3,
            "model_package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/harbour-logs/3",
            "environment": environment, "containers": [{**container, **fields}], "content_types": ["application/jsonlines"],
            "approved_by": ["ann"], "approved_at": "2026-11-20T10:00:00Z", "approval_id": approval, "sequence": 12,
            "key_id": "key",
        }  # fmt: skip
        signature = self.key.sign(signed_bytes(record), ec.ECDSA(hashes.SHA256()))
        value = json.dumps({**record, "signature": base64.b64encode(signature).decode()})
        name = f"/promotion/{GROUP}/{environment}/live"
        boto3.client("ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def run(self, *options: str, environment: str = "dev") -> int:
        places = ["--input", f"s3://{BUCKET}/in/input.jsonl", "--output", f"s3://{BUCKET}/{GROUP}/{environment}/run-1"]
        references = ["--references", f"s3://{BUCKET}/in/references.jsonl"]
        cache = ["--cache", str(self.tmp_path / "cache"), "--quiet"]
        return main(["run", GROUP, environment, *places, *references, *cache, *options], {})

    def events(self) -> list[dict[str, Any]]:
        sqs = boto3.client("sqs")
        found = []
        while messages := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture
def world(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    monkeypatch.setenv("PROMOTION_PUBLIC_KEY", public.decode())
    storage.client.cache_clear()
    _reset(aws)
    s3, events, sqs = boto3.client("s3"), boto3.client("events"), boto3.client("sqs")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    texts = sentences(20, longest=9)
    asked = "".join(
        json.dumps({"id": n, "text_inputs": text, "day": "mo" if n % 2 else "tu"}) + "\n"
        for n, text in enumerate(texts)
    )
    wanted = "".join(json.dumps({"id": n, "highlights": text}) + "\n" for n, text in enumerate(texts))
    s3.put_object(Bucket=BUCKET, Key="in/input.jsonl", Body=asked.encode())
    s3.put_object(Bucket=BUCKET, Key="in/references.jsonl", Body=wanted.encode())
    events.create_event_bus(Name=BUS)
    queue = sqs.create_queue(QueueName="heard")["QueueUrl"]
    events.put_rule(Name="all", EventBusName=BUS, EventPattern=json.dumps({"source": ["promotion.inference"]}))
    events.put_targets(
        Rule="all", EventBusName=BUS, Targets=[{"Id": "1", "Arn": "arn:aws:sqs:us-east-1:123456789012:heard"}]
    )
    boto3.client("ssm").put_parameter(Name="/promotion/_service", Value=json.dumps({"event_bus": BUS}), Type="String")
    yield Context(tmp_path, key, queue)
    storage.client.cache_clear()


def _reset(aws: str) -> None:
    import httpx

    httpx.post(f"{aws}/moto-api/reset", timeout=60).raise_for_status()


@pytest.fixture
def archive(t5_folder: Path, tmp_path: Path) -> bytes:
    return pack(t5_folder, tmp_path / "model.tar.gz").read_bytes()


def stored(key: str) -> bytes:
    body: bytes = boto3.client("s3").get_object(Bucket=BUCKET, Key=f"{GROUP}/dev/run-1/{key}")["Body"].read()
    return body


def test_an_approved_version_is_run_scored_and_reported(world: Context, archive: bytes) -> None:
    world.approve(archive)

    assert world.run() == 0

    lines = [json.loads(line) for line in stored("transform/input.jsonl.out").splitlines()]
    assert [line["id"] for line in lines] == list(range(20))
    assert {line["approval_id"] for line in lines} == {"approval-9"}
    metrics = json.loads(stored("score/metrics.json"))
    assert metrics["metrics"]["rougeL"]["n"] == 20
    assert (metrics["model_package_group"], metrics["model_package_version"], metrics["environment"]) == (
        GROUP,
        3,
        "dev",
    )
    assert set(metrics["slices"]["day"]) == {"mo", "tu"}
    assert stored("score/metrics.png").startswith(b"\x89PNG")
    [event] = world.events()
    assert (event["source"], event["detail-type"]) == ("promotion.inference", "Inference Completed")
    detail = event["detail"]
    assert (detail["status"], detail["model_package_version"], detail["environment"]) == ("Completed", 3, "dev")
    assert detail["metrics_uri"] == f"s3://{BUCKET}/{GROUP}/dev/run-1/score/metrics.json"


class _DeniedBus:
    """EventBridge, whose bus takes no event of this principal."""

    def put_events(self, **_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "explicit deny"}}, "PutEvents")


def test_a_run_by_a_principal_whom_the_bus_denies_keeps_its_results_and_names_the_remedy(
    world: Context, archive: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.approve(archive)
    real = storage.client
    with monkeypatch.context() as patch:
        patch.setattr(storage, "client", lambda service: _DeniedBus() if service == "events" else real(service))
        assert world.run() == 5
    assert "--no-event" in capsys.readouterr().err
    assert json.loads(stored("score/metrics.json"))["model_package_version"] == 3
    assert world.events() == []


def test_changed_bytes_predict_nothing_and_are_reported(world: Context, archive: bytes) -> None:
    world.approve(archive, sha256="0" * 64)

    assert world.run() == 4

    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{GROUP}/")
    [event] = world.events()
    assert event["detail"]["status"] == "Failed"
    assert event["detail"]["error"]["Error"] == "IntegrityError"
    assert "Nothing was predicted" in event["detail"]["error"]["Cause"]


def test_a_manifest_that_differs_is_refused_too(world: Context, archive: bytes) -> None:
    world.approve(archive, manifest_sha256="0" * 64)

    assert world.run() == 4
    assert world.events()[0]["detail"]["error"]["Error"] == "ModelRefused"


def test_an_approved_version_is_run_even_after_a_newer_upload(world: Context, archive: bytes) -> None:
    world.approve(archive)
    boto3.client("s3").put_object(Bucket=BUCKET, Key="model.tar.gz", Body=b"something else")

    assert world.run() == 0


@pytest.mark.parametrize("listed", [True, False])
def test_a_folder_is_run_as_it_was_approved_or_not_at_all(
    world: Context, archive: bytes, t5_folder: Path, listed: bool
) -> None:
    s3, ssm, url = boto3.client("s3"), boto3.client("ssm"), f"s3://{BUCKET}/folder/"
    for path in t5_folder.iterdir():
        s3.put_object(Bucket=BUCKET, Key=f"folder/{path.name}", Body=path.read_bytes())
    hashed = hash_folder(s3, url, list_folder(s3, url))
    if listed:
        assert hashed.objects is not None
        s3.put_object(Bucket=BUCKET, Key=f"manifests/{hashed.sha256}.json", Body=hashed.objects.canonical())
        known = json.dumps({"event_bus": BUS, "evidence_bucket": BUCKET})
        ssm.put_parameter(Name="/promotion/_service", Value=known, Type="String", Overwrite=True)
    world.approve(archive, model_data_url=url, model_data_version_id="", sha256=hashed.sha256)
    assert world.run() == 0
    shutil.rmtree(world.tmp_path / "cache")
    s3.put_object(Bucket=BUCKET, Key="folder/added.bin", Body=b"something else")
    assert world.run() == (0 if listed else 4)


def test_a_forged_record_is_refused(world: Context, archive: bytes) -> None:
    world.approve(archive)
    ssm, name = boto3.client("ssm"), f"/promotion/{GROUP}/dev/live"
    value = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    ssm.put_parameter(Name=name, Value=json.dumps({**value, "approval_id": "other"}), Type="String", Overwrite=True)

    assert world.run() == 4
    assert world.events()[0]["detail"]["error"]["Error"] == "IntegrityError"


def test_without_an_approval_nothing_runs_and_nothing_is_reported(world: Context) -> None:
    assert world.run(environment="prod") == 3
    assert world.events() == []


def test_a_hubs_id_in_the_package_is_refused(world: Context, archive: bytes) -> None:
    world.approve(archive, variables={"HF_MODEL_ID": "google/flan-t5-large"})

    assert world.run() == 4


def test_an_artifact_is_fetched_once_and_checked_each_time(world: Context, archive: bytes) -> None:
    world.approve(archive)
    assert world.run("--no-event") == 0
    folder = world.tmp_path / "cache" / hashlib.sha256(archive).hexdigest()
    version = boto3.client("s3").head_object(Bucket=BUCKET, Key="model.tar.gz")["VersionId"]
    boto3.client("s3").delete_object(Bucket=BUCKET, Key="model.tar.gz", VersionId=version)

    assert world.run("--no-event") == 0
    (folder / "config.json").write_text("{}")
    # The changed copy is thrown away, and there is nothing left to fetch it from.
    assert world.run("--no-event") == 4


def test_a_newer_approval_is_picked_up_by_the_next_run(
    world: Context, archive: bytes, t5_folder: Path, tmp_path: Path
) -> None:
    world.approve(archive)
    assert world.run("--no-event") == 0
    again = tmp_path / "again.tar.gz"
    with tarfile.open(again, "w:gz") as tar:
        tar.add(t5_folder, ".")

    world.approve(again.read_bytes(), variables={"HF_TASK": "summarization"})

    assert world.run("--no-event") == 0
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_newer_approval_is_never_picked_up_inside_a_run(
    world: Context, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.approve(archive)
    s3 = boto3.client("s3")
    for name in ("a", "b"):
        s3.put_object(
            Bucket=BUCKET, Key=f"many/{name}.jsonl", Body=b'{"id": "%b", "text_inputs": "fox"}\n' % name.encode()
        )
    put = storage.put
    asked: list[str] = []

    def approves_meanwhile(path: Path, uri: str) -> None:
        # The first file's output is being stored: another approval is signed right now.
        if not asked:
            world.approve(archive, approval="approval-10", variables={"HF_TASK": "fill-mask"})
        asked.append(uri)
        put(path, uri)

    monkeypatch.setattr(storage, "put", approves_meanwhile)
    places = ["--input", f"s3://{BUCKET}/many/", "--output", f"s3://{BUCKET}/{GROUP}/dev/run-1"]

    assert (
        main(["run", GROUP, "dev", *places, "--cache", str(world.tmp_path / "cache"), "--quiet", "--no-event"], {}) == 0
    )

    stamps = [json.loads(stored(f"transform/{name}.jsonl.out"))["approval_id"] for name in ("a", "b")]
    assert stamps == ["approval-9", "approval-9"]
    assert json.loads(stored("score/metrics.json"))["approval_id"] == "approval-9"
    # The next one is of the newer approval, which asks for a task that nothing here does.
    assert (
        main(["run", GROUP, "dev", *places, "--cache", str(world.tmp_path / "cache"), "--quiet", "--no-event"], {}) == 1
    )


def test_nothing_of_a_run_is_left_on_the_machine_but_the_artifact(world: Context, archive: bytes) -> None:
    world.approve(archive)

    assert world.run("--no-event") == 0

    left = [path.name for path in (world.tmp_path / "promotion-transform").iterdir()]
    assert left == []


def test_the_manifest_of_an_artifact_can_be_made_by_hand(
    world: Context, archive: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    world.approve(archive)

    assert main(["hash", f"s3://{BUCKET}/model.tar.gz"], {}) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["sha256"] == hashlib.sha256(archive).hexdigest()
    assert "model.safetensors" in {member["path"] for member in found["members"]}
