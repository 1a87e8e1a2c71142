"""`resolve` with the artifact: the address that it gives leads to the approved bytes, or it says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from promotion.client.resolve import check_artifact, resolve
from promotion.errors import IntegrityError
from tests.fakes import GROUP, PREFIX, FakeService

URL, APPROVED = "s3://models/a/model.tar.gz", b"approved"
SHA256 = hashlib.sha256(APPROVED).hexdigest()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="models")
        client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
        yield client


def put(s3: Any, body: bytes) -> str:
    return str(s3.put_object(Bucket="models", Key="a/model.tar.gz", Body=body)["VersionId"])


def test_an_overwritten_address_is_refused_with_the_version_to_take(s3: Any) -> None:
    version = put(s3, APPROVED)
    put(s3, b"other")
    with pytest.raises(IntegrityError, match=f"version {version}: read that"):
        check_artifact(URL, version, SHA256, by_version=False, s3=s3)


def test_a_deleted_address_is_refused_with_the_version_to_take(s3: Any) -> None:
    version = put(s3, APPROVED)
    s3.delete_object(Bucket="models", Key="a/model.tar.gz")
    with pytest.raises(IntegrityError, match=f"gone.*version {version}"):
        check_artifact(URL, version, SHA256, by_version=False, s3=s3)


def test_a_reader_by_version_gets_the_approved_bytes(s3: Any) -> None:
    version = put(s3, APPROVED)
    put(s3, b"other")
    check_artifact(URL, version, SHA256, by_version=True, s3=s3)


def test_the_same_bytes_uploaded_again_are_the_approved_ones(s3: Any) -> None:
    version = put(s3, APPROVED)
    put(s3, APPROVED)
    check_artifact(URL, version, SHA256, by_version=False, s3=s3)


def test_a_version_with_other_bytes_is_refused(s3: Any) -> None:
    with pytest.raises(IntegrityError, match="not those that were approved"):
        check_artifact(URL, put(s3, b"other"), SHA256, by_version=True, s3=s3)


def test_by_version_alone_reads_the_artifact_too(s3: Any) -> None:
    fake = FakeService()
    fake.promote(1, "dev")
    fake.project()
    given: dict[str, Any] = {"public_key": fake.signer.public_key, "prefix": PREFIX, "ssm": fake.ssm, "s3": s3}
    with pytest.raises(IntegrityError, match="the approved artifact is gone"):
        resolve(GROUP, "dev", by_version=True, **given)
