"""Copies of approved artifacts: what a container gets is what was approved, whatever is put in the original's place."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.shared import dependencies
from promotion import names
from promotion.aws.s3 import artifact_copies
from promotion.aws.s3.artifact_copies import keep_copy, with_copy
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.errors import IntegrityError, Invalid
from tests.adapters.conftest import MODELS, Aws
from tests.adapters.prepared import APPROVED, EVIDENCE, KEY, OURS, live_in_dev, run
from tests.fakes import GROUP, FakeService, as_client, raises
from tests.faults.fault import made_to_fail

PLAIN = "plain"
THEIRS = "1.dkr.ecr.eu-central-1.amazonaws.com/xgboost:7"
OTHER = b"the bytes that somebody put there"


@pytest.fixture
def s3(aws: Aws) -> Any:
    for bucket in (EVIDENCE, PLAIN):
        aws.s3.create_bucket(Bucket=bucket)
    aws.s3.put_bucket_versioning(Bucket=EVIDENCE, VersioningConfiguration={"Status": "Enabled"})
    return aws.s3


def put(s3: Any, content: bytes, bucket: str = MODELS) -> str:
    """Put an artifact, and return its version id; empty where the bucket keeps none."""
    return str(s3.put_object(Bucket=bucket, Key=KEY, Body=content).get("VersionId", ""))


def container(version_id: str, bucket: str = MODELS, approved: bytes = APPROVED) -> LiveContainer:
    return LiveContainer(
        image=THEIRS,
        image_digest="",
        model_data_url=f"s3://{bucket}/{KEY}",
        model_data_version_id=version_id,
        sha256=hashlib.sha256(approved).hexdigest(),
        manifest_sha256="",
    )


def read(s3: Any, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def left(s3: Any) -> tuple[int, int]:
    """Return the number of copies, and of unfinished uploads."""
    objects = s3.list_object_versions(Bucket=EVIDENCE, Prefix=f"{names.COPIES}/").get("Versions", [])
    return len(objects), len(s3.list_multipart_uploads(Bucket=EVIDENCE).get("Uploads", []))


def test_a_replaced_original_reaches_no_container(s3: Any) -> None:
    approved = container(put(s3, APPROVED))
    copy = keep_copy(s3, EVIDENCE, approved)
    put(s3, OTHER)
    assert read(s3, copy) == APPROVED
    assert keep_copy(s3, EVIDENCE, approved) == copy
    assert read(s3, copy) == APPROVED


def test_a_copy_is_of_the_approved_version_though_a_newer_one_is_there(s3: Any) -> None:
    approved = container(put(s3, APPROVED))
    put(s3, OTHER)
    assert read(s3, keep_copy(s3, EVIDENCE, approved)) == APPROVED


def test_a_large_artifact_is_copied_part_by_part(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_copies, "COPIED_PART_BYTES", 5 << 20)
    large = bytes(range(256)) * (12 << 12)
    assert read(s3, keep_copy(s3, EVIDENCE, container(put(s3, large), approved=large))) == large


def test_a_copy_is_written_once(s3: Any) -> None:
    approved = container(put(s3, APPROVED))
    for _ in range(3):
        keep_copy(s3, EVIDENCE, approved)
    assert left(s3) == (1, 0)


def test_of_two_that_copy_at_once_one_writes(s3: Any) -> None:
    approved = container(put(s3, APPROVED))
    head, asked = s3.head_object, []

    class Slow:
        """S3 for a caller that looked before the other one wrote."""

        def __getattr__(self, name: str) -> Any:
            return getattr(s3, name)

        def head_object(self, **given: Any) -> Any:
            asked.append(given)
            if len(asked) == 1:
                try:
                    return head(**given)
                finally:
                    keep_copy(s3, EVIDENCE, approved)
            return head(**given)

    assert read(s3, keep_copy(as_client(Slow()), EVIDENCE, approved)) == APPROVED
    assert left(s3) == (1, 0)


def test_without_versions_the_bytes_are_compared_on_their_way(s3: Any) -> None:
    approved = container(put(s3, APPROVED, PLAIN), PLAIN)
    put(s3, OTHER, PLAIN)
    with pytest.raises(IntegrityError, match="not those that were approved"):
        keep_copy(s3, EVIDENCE, approved)
    assert left(s3) == (0, 0)
    put(s3, APPROVED, PLAIN)
    assert read(s3, keep_copy(s3, EVIDENCE, approved)) == APPROVED


def test_of_an_approved_version_that_is_gone_there_is_no_copy(s3: Any) -> None:
    version = put(s3, APPROVED)
    s3.delete_object(Bucket=MODELS, Key=KEY, VersionId=version)
    with pytest.raises(IntegrityError, match="gone"):
        keep_copy(s3, EVIDENCE, container(version))
    assert left(s3) == (0, 0)


@pytest.mark.parametrize(
    ("image", "own_image", "always", "copied"),
    [
        (THEIRS, OURS, False, True),
        (OURS, OURS, False, False),
        (OURS.replace(":7", "@sha256:ab"), OURS, False, False),
        (OURS, OURS, True, True),
        (OURS, "", False, True),
    ],
)
def test_an_image_that_compares_files_with_the_manifest_needs_no_copy(
    s3: Any, image: str, own_image: str, always: bool, copied: bool
) -> None:
    model = LiveModel(
        model_package_group=GROUP, model_package_version=1, model_package_arn="arn", environment="dev",
        containers=(replace(container(put(s3, APPROVED)), image=image),), content_types=(), approved_by=(),
        approved_at="", approval_id="", sequence=1, key_id="", record={},
    )  # fmt: skip
    found = with_copy(model, s3=s3, bucket=EVIDENCE, own_image=own_image, always=always)
    assert (found.containers[0].model_data_url != model.containers[0].model_data_url) is copied


@pytest.fixture
def prepared(s3: Any, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    return live_in_dev(aws, monkeypatch)


def test_a_prepared_run_keeps_to_the_approved_bytes_whatever_is_put_there_later(prepared: FakeService, s3: Any) -> None:
    wanted = run()["create_model"]["Containers"][0]
    put(s3, OTHER)
    assert read(s3, wanted["ModelDataUrl"]) == APPROVED
    assert wanted["ModelDataUrl"].startswith(f"s3://{EVIDENCE}/{names.COPIES}/")


def test_a_run_is_scored_by_the_services_own_image(prepared: FakeService) -> None:
    assert run()["score"]["AppSpecification"]["ImageUri"] == OURS


def test_without_an_image_of_ours_no_run_is_prepared(prepared: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.INFERENCE_IMAGE, "")
    with pytest.raises(Invalid, match=r"inference\.image"):
        run()
    with pytest.raises(Invalid, match=r"inference\.image"):
        dependencies.inference_image()


def test_every_container_of_a_model_gets_its_own_copy(s3: Any) -> None:
    first = container(put(s3, APPROVED))
    second = container(put(s3, OTHER), approved=OTHER)
    model = LiveModel(
        model_package_group=GROUP, model_package_version=1, model_package_arn="arn", environment="dev",
        containers=(replace(first, image=OURS), first, second), content_types=(), approved_by=(),
        approved_at="", approval_id="", sequence=1, key_id="", record={},
    )  # fmt: skip
    ours, *theirs = with_copy(model, s3=s3, bucket=EVIDENCE, own_image=OURS, always=False).containers
    assert ours.model_data_url == first.model_data_url
    assert [read(s3, each.model_data_url) for each in theirs] == [APPROVED, OTHER]


@pytest.mark.parametrize("call", ["HeadObject", "UploadPartCopy", "CreateMultipartUpload"])
def test_an_error_of_s3_itself_is_raised_and_leaves_nothing_behind(s3: Any, call: str) -> None:
    approved = container(put(s3, APPROVED))

    breaks = raises(made_to_fail("InternalError", call))
    s3.meta.events.register(f"before-call.s3.{call}", breaks)
    with pytest.raises(ClientError, match="InternalError"):
        keep_copy(s3, EVIDENCE, approved)
    assert left(s3) == (0, 0)
    s3.meta.events.unregister(f"before-call.s3.{call}", breaks)
    assert read(s3, keep_copy(s3, EVIDENCE, approved)) == APPROVED
