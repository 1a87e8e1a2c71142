"""Files and objects by one kind of address: what is listed, what is gone, and what is somebody else's error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from inference.batch import storage
from promotion.errors import IntegrityError, Invalid

BUCKET = "promotion-models"


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        storage.client.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
    storage.client.cache_clear()


class Denied:
    """S3 for a role that may read nothing."""

    def get_object(self, **_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    def get_paginator(self, _: str) -> Denied:
        return self

    def paginate(self, **_: object) -> Iterator[None]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectsV2")


def test_a_name_is_a_file_or_a_folder_and_never_the_beginning_of_another(s3: Any) -> None:
    for key in ("in/a.jsonl", "in/a.jsonl.bak", "in/", "in/b/c.jsonl"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    assert [source.name for source in storage.sources(f"s3://{BUCKET}/in/a.jsonl")] == ["a.jsonl"]
    assert [source.name for source in storage.sources(f"s3://{BUCKET}/in")] == ["a.jsonl", "a.jsonl.bak", "b/c.jsonl"]
    assert storage.exists(f"s3://{BUCKET}/in/b/")
    assert not storage.exists(f"s3://{BUCKET}/out/")


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/none", "s3://another-bucket/in", "/no/such/folder"])
def test_an_input_that_is_not_there_is_named(s3: Any, uri: str) -> None:
    with pytest.raises(Invalid, match=f"input: there is nothing at {uri}"):
        storage.sources(uri)


def test_a_denied_list_or_artifact_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "client", lambda service: Denied())
    with pytest.raises(ClientError, match="AccessDenied"):
        storage.sources(f"s3://{BUCKET}/in")
    with pytest.raises(ClientError, match="AccessDenied"):
        storage.download_hashed(f"s3://{BUCKET}/model.tar.gz", "", tmp_path / "model.tar.gz")


def test_an_artifact_that_is_gone_is_said(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="the approved artifact is gone"):
        storage.download_hashed(f"s3://{BUCKET}/model.tar.gz", "", tmp_path / "model.tar.gz")


def test_bytes_are_stored_at_either_kind_of_address(s3: Any, tmp_path: Path) -> None:
    for uri in (str(tmp_path / "a"), f"s3://{BUCKET}/a"):
        storage.put_bytes(b"fox", uri)
        assert storage.read_bytes(uri) == b"fox"
