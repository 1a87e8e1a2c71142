"""The job that hashes: whatever is wrong with an artifact is said in the result, and trouble of S3 is none of its own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from inference.batch import hash_command, storage

BUCKET, ARTIFACT = "promotion-models", "s3://promotion-models/model.tar.gz"


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The file of a plan that names one artifact."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    storage.client.cache_clear()
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        tag = s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=gzip.compress(bytes(1024)))["ETag"]
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({"artifacts": [{"artifact": ARTIFACT, "version_id": "", "etag": tag}]}))
        yield str(path)
    storage.client.cache_clear()


@pytest.mark.parametrize("error", [RuntimeError("odd"), KeyError("x"), MemoryError(), UnicodeError("x")])
def test_an_exception_that_nobody_thought_of_is_a_finding(
    plan: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(hash_command, "hash_artifact", breaks)
    [found] = hash_command.planned(plan)["artifacts"]
    assert found["problem"] == f"the artifact can't be read ({type(error).__name__})."
    assert "sha256" not in found


def test_an_artifact_that_was_replaced_meanwhile_ends_the_job(plan: str) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key="model.tar.gz", Body=b"other bytes")
    with pytest.raises(ClientError):
        hash_command.planned(plan)


def test_an_empty_archive_is_hashed(plan: str) -> None:
    [found] = hash_command.planned(plan)["artifacts"]
    assert len(found["sha256"]) == 64
