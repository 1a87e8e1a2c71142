"""Uncompressed artifacts: a folder of S3 is approved by the versions of its objects, and nothing put there later is run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from inference.batch.hash_command import planned
from lambdas.handlers import prepare_inference
from promotion import names
from promotion.aws.s3.artifact_copies import keep_copy, keep_packed, with_copy
from promotion.aws.s3.artifacts import hash_container, pinned, size_of
from promotion.cli import resolving
from promotion.client.artifact import Manifest, hash_artifact, manifest_of_folder
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.client.resolve import resolve
from promotion.domain.model import Container
from promotion.domain.sagemaker_model import model_request
from promotion.errors import IntegrityError, Invalid
from tests.adapters.conftest import MODELS, Aws, prepares_runs_of
from tests.fakes import GROUP, PREFIX, FakeService, raises

EVIDENCE, PLAIN = "evidence", "plain"
FOLDER = f"{GROUP}/7/"
OURS, THEIRS = "1.dkr.ecr.eu-central-1.amazonaws.com/inference:7", "1.dkr.ecr.eu-central-1.amazonaws.com/xgboost:7"
FILES = {
    "config.json": b"{}",
    "weights/a.bin": b"a" * 5000,
    "weights/b.bin": b"b" * 70,
    "weights/empty": b"",
    "é.txt": b"x",
}


@pytest.fixture
def s3(aws: Aws) -> Any:
    for bucket in (EVIDENCE, PLAIN):
        aws.s3.create_bucket(Bucket=bucket)
    aws.s3.put_bucket_versioning(Bucket=EVIDENCE, VersioningConfiguration={"Status": "Enabled"})
    return aws.s3


def put(s3: Any, files: dict[str, bytes], bucket: str = MODELS, folder: str = FOLDER) -> None:
    for path, content in files.items():
        s3.put_object(Bucket=bucket, Key=folder + path, Body=content)


def registered(s3: Any, bucket: str = MODELS, **about: Any) -> Container:
    """The folder as registration leaves it: hashed, and its lists kept in the evidence bucket."""
    lists: list[Manifest] = []
    given = Container(image=THEIRS, model_data_url=f"s3://{bucket}/{FOLDER}", **about)
    found = hash_container(s3, given, keep=lists.append)
    for each in lists:
        s3.put_object(Bucket=EVIDENCE, Key=f"{names.MANIFESTS}/{each.sha256}.json", Body=each.canonical())
    return found


def live(container: Container, image: str = THEIRS) -> LiveContainer:
    return LiveContainer(
        image=image, image_digest="", model_data_url=container.model_data_url, model_data_version_id="",
        sha256=container.sha256, manifest_sha256=container.manifest_sha256,
    )  # fmt: skip


def below(s3: Any, uri: str) -> dict[str, bytes]:
    """Return the files that SageMaker would place below /opt/ml/model."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    assert prefix.endswith("/")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
    return {key.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def inside(s3: Any, uri: str) -> dict[str, bytes]:
    """The files of an archive."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


def test_a_folder_is_registered_by_its_object_versions(s3: Any) -> None:
    put(s3, FILES)
    found = registered(s3)
    kept = s3.get_object(Bucket=EVIDENCE, Key=f"{names.MANIFESTS}/{found.sha256}.json")["Body"].read()
    assert hashlib.sha256(kept).hexdigest() == found.sha256
    versions = {
        each["Key"]: each["VersionId"] for each in s3.list_object_versions(Bucket=MODELS, Prefix=FOLDER)["Versions"]
    }
    assert json.loads(kept) == [
        {
            "path": path,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "version_id": versions[FOLDER + path],
        }
        for path, content in sorted(FILES.items())
    ]
    assert (found.files, found.size, found.model_data_version_id) == (5, 5073, "")


def test_a_container_finds_the_approved_files_in_front_of_it(s3: Any, tmp_path: Path) -> None:
    put(s3, FILES)
    found = registered(s3)
    for path, content in below(s3, found.model_data_url).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert manifest_of_folder(tmp_path).sha256 == found.manifest_sha256


def test_the_job_finds_what_the_function_finds(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(s3, FILES)
    given = Container(image=THEIRS, model_data_url=f"s3://{MODELS}/{FOLDER}")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"artifacts": [{"artifact": given.model_data_url, **pinned(s3, given)}]}))
    monkeypatch.setattr("inference.batch.storage.client", lambda service: s3)
    [entry] = planned(str(plan), f"s3://{EVIDENCE}/hashes/1.json")["artifacts"]
    wanted = registered(s3)
    assert entry == {
        "artifact": given.model_data_url, "version_id": "", "size": wanted.size, "sha256": wanted.sha256,
        "manifest_sha256": wanted.manifest_sha256, "files": 5,
    }  # fmt: skip
    assert size_of(s3, given) == wanted.size
    for digest in (wanted.sha256, wanted.manifest_sha256):
        body = s3.get_object(Bucket=EVIDENCE, Key=f"{names.MANIFESTS}/{digest}.json")["Body"].read()
        assert hashlib.sha256(body).hexdigest() == digest


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "folder made in the S3 console"),
        ("weights/", "folder made in the S3 console"),
        ("../secret", "can't be the name of a file"),
        ("weights//a", "can't be the name of a file"),
        ("./a", "can't be the name of a file"),
        ("x" * 256, "can't be the name of a file"),
        ("weights", "can't be file and folder at once"),
    ],
)
def test_an_object_that_sagemaker_could_not_place_is_refused_by_name(s3: Any, key: str, said: str) -> None:
    put(s3, FILES | {key: b""})
    with pytest.raises(Invalid, match=said):
        registered(s3)


def test_a_folder_with_nothing_below_it_is_one_that_may_come(s3: Any) -> None:
    with pytest.raises(Invalid, match="there is no object at"):
        registered(s3)


@pytest.mark.parametrize("bucket", [MODELS, PLAIN])
def test_a_replaced_file_reaches_no_container(s3: Any, bucket: str) -> None:
    put(s3, FILES, bucket)
    container = live(registered(s3, bucket))
    copy, packed = keep_copy(s3, EVIDENCE, container), keep_packed(s3, EVIDENCE, container)
    put(s3, {"weights/a.bin": b"others", "added.py": b"import os"}, bucket)
    assert below(s3, copy) == FILES
    assert inside(s3, packed) == FILES
    assert (keep_copy(s3, EVIDENCE, container), keep_packed(s3, EVIDENCE, container)) == (copy, packed)
    assert copy.startswith(f"s3://{EVIDENCE}/{names.COPIES}/")


def test_a_copy_is_of_the_approved_versions_though_newer_ones_are_there(s3: Any) -> None:
    put(s3, FILES)
    container = live(registered(s3))
    put(s3, {"weights/a.bin": b"others", "added.py": b"import os"})
    s3.delete_object(Bucket=MODELS, Key=f"{FOLDER}config.json")
    assert below(s3, keep_copy(s3, EVIDENCE, container)) == FILES
    assert inside(s3, keep_packed(s3, EVIDENCE, container)) == FILES


@pytest.mark.parametrize("keep", [keep_copy, keep_packed])
def test_without_versions_other_bytes_are_not_copied(s3: Any, keep: Any) -> None:
    put(s3, FILES, PLAIN)
    container = live(registered(s3, PLAIN))
    put(s3, {"weights/b.bin": b"B" * 70}, PLAIN)
    with pytest.raises(IntegrityError, match=r"b\.bin: the bytes are not those that were approved"):
        keep(s3, EVIDENCE, container)
    assert f"{names.COPIES}/{container.sha256}/files/weights/b.bin" not in {
        each["Key"] for each in s3.list_objects_v2(Bucket=EVIDENCE)["Contents"]
    }
    assert not s3.list_multipart_uploads(Bucket=EVIDENCE).get("Uploads")


def test_a_copy_that_was_left_half_is_completed_and_nothing_written_twice(s3: Any) -> None:
    put(s3, FILES)
    container = live(registered(s3))
    copy = keep_copy(s3, EVIDENCE, container)
    [lost] = [key for key in below(s3, copy) if key.endswith("b.bin")]
    s3.delete_object(Bucket=EVIDENCE, Key=copy.removeprefix(f"s3://{EVIDENCE}/") + lost)
    assert below(s3, keep_copy(s3, EVIDENCE, container)) == FILES
    versions = s3.list_object_versions(Bucket=EVIDENCE, Prefix=f"{names.COPIES}/")["Versions"]
    assert len(versions) == len(FILES) + 1


def test_the_packed_folder_is_an_archive_that_unpacks_to_the_approved_manifest(s3: Any) -> None:
    put(s3, FILES)
    container = live(registered(s3))
    bucket, _, key = keep_packed(s3, EVIDENCE, container).removeprefix("s3://").partition("/")
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert hash_artifact(io.BytesIO(body), size=len(body)).manifest.sha256 == container.manifest_sha256
    assert len(gzip.decompress(body)) % 512 == 0


def test_a_list_of_versions_that_was_changed_is_not_believed(s3: Any) -> None:
    put(s3, FILES)
    container = live(registered(s3))
    s3.put_object(Bucket=EVIDENCE, Key=f"{names.MANIFESTS}/{container.sha256}.json", Body=b"[]")
    with pytest.raises(IntegrityError, match="list of its approved object versions is gone"):
        keep_copy(s3, EVIDENCE, container)


@pytest.mark.parametrize(
    ("image", "always", "for_transform", "place"),
    [
        (OURS, False, False, f"s3://{MODELS}/{FOLDER}"),
        (THEIRS, False, False, "/files/"),
        (OURS, True, False, "/files/"),
        (OURS, False, True, "/model.tar.gz"),
        (THEIRS, True, True, "/model.tar.gz"),
    ],
)
def test_an_endpoint_gets_a_folder_and_a_transform_an_archive(
    s3: Any, image: str, always: bool, for_transform: bool, place: str
) -> None:
    put(s3, FILES)
    model = a_model(live(registered(s3), image))
    found = with_copy(model, s3=s3, bucket=EVIDENCE, own_image=OURS, always=always, for_transform=for_transform)
    assert found.containers[0].model_data_url.endswith(place)
    request: dict[str, Any] = dict(
        model_request(found, name="m", role="r", subnets=(), security_groups=(), isolated=True)
    )
    wanted = request["Containers"][0]
    if for_transform:
        assert "ModelDataSource" not in wanted
    else:
        source = {"S3Uri": found.containers[0].model_data_url, "S3DataType": "S3Prefix", "CompressionType": "None"}
        assert wanted["ModelDataSource"] == {"S3DataSource": source}
        assert "ModelDataUrl" not in wanted


def a_model(container: LiveContainer) -> LiveModel:
    return LiveModel(
        model_package_group=GROUP, model_package_version=1, model_package_arn="arn", environment="dev",
        containers=(container,), content_types=(), approved_by=(), approved_at="", approval_id="", sequence=1,
        key_id="", record={},
    )  # fmt: skip


@pytest.fixture
def fake(s3: Any, aws: Aws) -> FakeService:
    """A folder that is live in dev, and the service's own parameter."""
    put(s3, FILES)
    made = FakeService()
    made.register(1, containers=(registered(s3),))
    made.decide(1, "dev")
    made.project()
    made.ssm.values[names.service_parameter(PREFIX)] = json.dumps({"evidence_bucket": EVIDENCE})
    return made


def resolved(fake: FakeService, s3: Any, **options: Any) -> LiveModel:
    return resolve(
        GROUP, "dev", artifact=True, ssm=fake.ssm, s3=s3, prefix=PREFIX, public_key=fake.signer.public_key, **options
    )


@pytest.mark.parametrize("by_version", [False, True])
def test_resolve_says_the_address_and_has_the_versions(fake: FakeService, s3: Any, by_version: bool) -> None:
    told: list[int] = []
    [container] = resolved(fake, s3, by_version=by_version, on_bytes=told.append).containers
    assert container.model_data_url == f"s3://{MODELS}/{FOLDER}"
    assert container.objects is not None
    assert told == sorted(told)
    assert told[-1] == sum(each.size for each in container.objects.members), "all bytes were read, and told of"
    read = {
        each.path: s3.get_object(Bucket=MODELS, Key=FOLDER + each.path, VersionId=each.version_id)["Body"].read()
        for each in container.objects.members
    }
    assert read == FILES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights/a.bin": b"others"}, "weights/a.bin: changed"),
        ({"added.py": b"import os"}, "added.py: not in the approved artifact"),
        ({"weights/": b""}, "made in the S3 console"),
    ],
)
def test_resolve_names_files_that_differ_from_the_newest(
    fake: FakeService, s3: Any, change: dict[str, bytes], said: str
) -> None:
    put(s3, change)
    with pytest.raises(IntegrityError, match=said):
        resolved(fake, s3)
    [container] = resolved(fake, s3, by_version=True).containers
    assert container.objects is not None


def test_a_file_that_is_gone_is_one_difference_and_its_version_another(fake: FakeService, s3: Any) -> None:
    key = f"{FOLDER}config.json"
    version = s3.head_object(Bucket=MODELS, Key=key)["VersionId"]
    s3.delete_object(Bucket=MODELS, Key=key)
    with pytest.raises(IntegrityError, match=r"config\.json: missing"):
        resolved(fake, s3)
    resolved(fake, s3, by_version=True)
    s3.delete_object(Bucket=MODELS, Key=key, VersionId=version)
    with pytest.raises(IntegrityError, match=r"config\.json: the approved object version is gone"):
        resolved(fake, s3, by_version=True)


def test_without_the_list_the_newest_files_are_still_compared(fake: FakeService, s3: Any) -> None:
    del fake.ssm.values[names.service_parameter(PREFIX)]
    assert resolved(fake, s3).containers[0].objects is None
    with pytest.raises(Invalid, match="list of approved object versions"):
        resolved(fake, s3, by_version=True)
    put(s3, {"weights/a.bin": b"others"})
    with pytest.raises(IntegrityError, match="not those that were approved"):
        resolved(fake, s3)


@pytest.mark.parametrize("place", ["parameter", "bucket"])
def test_a_reader_who_may_not_see_the_list_compares_the_newest_files(
    fake: FakeService, s3: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    client, name = (fake.ssm, "get_parameter") if place == "parameter" else (s3, "get_object")
    allowed = getattr(client, name)

    def denied(**given: Any) -> Any:
        if {names.service_parameter(PREFIX), EVIDENCE} & {*given.values()}:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, name)
        return allowed(**given)

    monkeypatch.setattr(client, name, denied)
    assert resolved(fake, s3).containers[0].objects is None
    put(s3, {"weights/a.bin": b"others"})
    with pytest.raises(IntegrityError, match="not those that were approved"):
        resolved(fake, s3)
    gone = ClientError({"Error": {"Code": "NoSuchBucket", "Message": "no bucket"}}, "ListObjectsV2")
    monkeypatch.setattr(s3, "get_paginator", raises(gone))
    with pytest.raises(IntegrityError, match="the approved files are gone"):
        resolved(fake, s3)


def test_the_command_names_each_files_version(
    fake: FakeService, s3: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from argparse import Namespace

    monkeypatch.setattr(resolving, "resolve", lambda group, environment, **_: resolved(fake, s3, by_version=True))
    options = Namespace(
        group=GROUP, environment="dev", artifact=True, by_version=True, public_key=None, minimum_sequence=0, remember=None,
        json=False,
    )  # fmt: skip
    assert resolving.run(options) == 0
    said = capsys.readouterr().out
    assert f"artifact  s3://{MODELS}/{FOLDER}  (5 files)" in said
    assert f"file      config.json  {s3.head_object(Bucket=MODELS, Key=f'{FOLDER}config.json')['VersionId']}" in said


def test_a_prepared_run_keeps_to_the_approved_files_whatever_is_put_there_later(
    fake: FakeService, s3: Any, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepares_runs_of(fake, aws, monkeypatch, evidence=EVIDENCE, image=OURS)
    settings = {"execution_role_arn": "arn:aws:iam::123456789012:role/dev", "evidence_bucket": EVIDENCE}
    places = {name: f"s3://{MODELS}/{name}.jsonl" for name in ("input", "references")}
    event = {"group": GROUP, "environment": "dev", "settings": settings, **places}
    [container] = prepare_inference.handler(event, None)["create_model"]["Containers"]
    put(s3, {"weights/a.bin": b"others"})
    assert inside(s3, container["ModelDataUrl"]) == FILES
    # A later run finds that what is there now is not what was approved.
    with pytest.raises(IntegrityError, match=r"weights/a\.bin: changed"):
        prepare_inference.handler(event, None)


def test_a_folder_that_this_services_image_cannot_load_is_refused_at_registration(s3: Any) -> None:
    put(s3, {"readme.md": b"x"})
    given = Container(image=OURS, model_data_url=f"s3://{MODELS}/{FOLDER}")
    with pytest.raises(Invalid, match="the inference image can't load it: "):
        hash_container(s3, given, own_image=OURS)
    assert hash_container(s3, given, own_image=THEIRS).files == 1
