"""Objects that others write to S3: artifacts, metrics, pictures; what is wrong with one is told, and stops nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError

from promotion.aws.s3 import artifacts
from promotion.aws.s3.artifacts import pinned, read_json, registered_evidence, size_of
from promotion.aws.s3.picture_store import read_picture
from promotion.domain.model import Container
from promotion.errors import Invalid
from tests.adapters.conftest import MODELS, Aws
from tests.fakes import as_client

URI = f"s3://{MODELS}/metrics.json"


def refused(code: str, status: int = 400) -> Exception:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


class Failing:
    """S3 that answers each call with an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            raise self._error

        return call


def container(url: str) -> Container:
    return Container(image="image", model_data_url=url)


@pytest.mark.parametrize(
    ("code", "url", "said"),
    [
        ("404", "s3://models/m.tar.gz", "there is no object at s3://models/m.tar.gz."),
        ("NoSuchBucket", "s3://models/folder/", "there is no object at s3://models/folder/."),
        ("403", "s3://models/m.tar.gz", r"name its bucket under \[artifacts\] buckets"),
        ("AccessDenied", "s3://models/folder/", r"name its bucket under \[artifacts\] buckets"),
        ("403", "", "the package names no artifact"),
    ],
)
def test_an_artifact_that_cannot_be_read_is_told_with_what_to_do(code: str, url: str, said: str) -> None:
    for read in (size_of, pinned):
        with pytest.raises(Invalid, match=said):
            read(as_client(Failing(refused(code))), container(url))


@pytest.mark.parametrize("url", ["s3://models/m.tar.gz", "s3://models/folder/"])
def test_an_s3_that_is_away_is_not_the_artifacts_fault(url: str) -> None:
    with pytest.raises(ClientError, match="SlowDown"):
        size_of(as_client(Failing(refused("SlowDown", 503))), container(url))


def test_reads_are_pinned_to_the_version_and_the_bytes_of_now(aws: Aws) -> None:
    aws.s3.create_bucket(Bucket="plain")
    put = [aws.s3.put_object(Bucket=bucket, Key="m.tar.gz", Body=b"x") for bucket in (MODELS, "plain")]
    found = [pinned(aws.s3, container(f"s3://{bucket}/m.tar.gz")) for bucket in (MODELS, "plain")]
    assert found[0] == {"version_id": put[0]["VersionId"], "etag": put[0]["ETag"]}
    assert found[1] == {"version_id": "", "etag": put[1]["ETag"]}


def description(uri: str) -> dict[str, Any]:
    return {"ModelMetrics": {"ModelQuality": {"Statistics": {"S3Uri": uri}}}}


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (refused("NoSuchKey", 404), f"{URI} can't be read"),
        (refused("AccessDenied", 403), f"{URI} can't be read: no"),
        (refused("InvalidObjectState", 403), "can't be read: InvalidObjectState"),
        (ParamValidationError(report="Bucket"), "the registered metrics can't be read: ParamValidationError"),
        (RecursionError(), "the registered metrics can't be read: RecursionError"),
    ],
)
def test_metrics_that_cannot_be_read_are_missing_with_the_reason(error: Exception, problem: str) -> None:
    found = registered_evidence(as_client(Failing(error)), description(URI))
    assert (found.status, found.metrics_uri) == ("Missing", URI)
    assert problem in found.problem


@pytest.mark.parametrize("error", [refused("SlowDown", 503), EndpointConnectionError(endpoint_url="https://s3")])
def test_metrics_are_waited_for_while_s3_is_away(error: Exception) -> None:
    with pytest.raises(type(error)):
        registered_evidence(as_client(Failing(error)), description(URI))


def test_metrics_beyond_the_limit_are_missing_with_the_reason(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.s3.put_object(Bucket=MODELS, Key="metrics.json", Body=json.dumps({"text": "x" * 90}))
    assert read_json(aws.s3, URI, "metrics_uri")[0] == {"text": "x" * 90}
    monkeypatch.setattr(artifacts, "LARGEST_METRICS_BYTES", 100)
    found = registered_evidence(aws.s3, description(URI))
    assert (found.status, f"{URI} is larger than 100 bytes" in found.problem) == ("Missing", True)


def test_a_picture_that_cannot_be_shown_is_none(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"s3://{MODELS}/picture.png"
    assert read_picture(aws.s3, uri) is None
    aws.s3.put_object(Bucket=MODELS, Key="picture.png", Body=b"x" * 100)
    assert read_picture(aws.s3, uri) == b"x" * 100
    monkeypatch.setattr("promotion.aws.s3.picture_store.LARGEST_PICTURE_BYTES", 99)
    assert read_picture(aws.s3, uri) is None
    assert read_picture(as_client(Failing(refused("AccessDenied", 403))), uri) is None
    with pytest.raises(ClientError):
        read_picture(as_client(Failing(refused("SlowDown", 503))), uri)
