"""Copies of approved artifacts, for containers that don't compare their files with the manifest.

SageMaker reads an artifact by its plain address when a container starts, so that whoever may write there can put other bytes in
its place after the check. A copy lies below a prefix of ours, under the SHA-256 of its bytes, where only the functions that make
copies may write, and they never overwrite (the evidence bucket's policy, infra/storage.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypedDict

from botocore.exceptions import ClientError

from promotion import names
from promotion.client.artifact import split_uri
from promotion.client.image_address import is_image
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.errors import IntegrityError

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef

# S3 copies parts of at most 5 GiB, and an object has at most 10,000 of them.
COPIED_PART_BYTES = 1 << 30
COPIES_AT_ONCE = 16
# Parts that go through this process; only the last one may be under 5 MiB.
SENT_PART_BYTES = 64 << 20
_MISSING = ("404", "NoSuchKey", "NoSuchVersion", "NoSuchBucket")
_THERE = ("PreconditionFailed", "ConditionalRequestConflict")


class _Upload(TypedDict):
    """A multipart upload, as S3's calls name it."""

    Bucket: str
    Key: str
    UploadId: str


def with_copy(model: LiveModel, *, s3: S3Client, bucket: str, own_image: str, always: bool) -> LiveModel:
    """Return the model with the addresses of unchangeable copies, each made unless it is there.

    Args:
        model: What is live.
        s3: An S3 client that may read the artifact and write copies.
        bucket: The bucket of the copies.
        own_image: The service's own image: its containers compare their files with the manifest, and need no copy.
        always: Make a copy for those as well.

    Raises:
        IntegrityError: The approved object version is gone, or its bytes are others.
    """

    def as_it_runs(container: LiveContainer) -> LiveContainer:
        own = is_image(container.image, own_image)
        if not container.model_data_url or (own and not always):
            return container
        return dataclasses.replace(container, model_data_url=keep_copy(s3, bucket, container))

    return dataclasses.replace(model, containers=tuple(map(as_it_runs, model.containers)))


def keep_copy(s3: S3Client, bucket: str, container: LiveContainer) -> str:
    """Return the address of the copy of a container's artifact; make it unless it is there.

    Raises:
        IntegrityError: The approved object version is gone, or its bytes are others.
    """
    key = f"{names.COPIES}/{container.sha256}/model.tar.gz"
    if not _exists(s3, bucket, key):
        _copy(s3, container, bucket, key)
    return f"s3://{bucket}/{key}"


def _exists(s3: S3Client, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return False
        raise
    return True


def _copy(s3: S3Client, container: LiveContainer, bucket: str, key: str) -> None:
    """Write the copy as a multipart upload: its end is the only write that S3 lets depend on nothing being there yet."""
    begun = s3.create_multipart_upload(Bucket=bucket, Key=key)
    upload: _Upload = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}
    try:
        parts = (
            _by_version(s3, container, upload) if container.model_data_version_id else _by_hash(s3, container, upload)
        )
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    except BaseException as error:
        s3.abort_multipart_upload(**upload)
        if isinstance(error, ClientError):
            code = error.response["Error"]["Code"]
            if code in _THERE:
                # Another call was quicker, with the same bytes.
                return
            if code in _MISSING:
                raise IntegrityError(f"{container.model_data_url}: the approved artifact is gone.") from None
        raise


def _by_version(s3: S3Client, container: LiveContainer, upload: _Upload) -> list[CompletedPartTypeDef]:
    """Copy the approved object version inside of S3; a version never changes."""
    bucket, key = split_uri(container.model_data_url, "ModelDataUrl")
    source: CopySourceTypeDef = {"Bucket": bucket, "Key": key, "VersionId": container.model_data_version_id}
    size = s3.head_object(Bucket=bucket, Key=key, VersionId=container.model_data_version_id)["ContentLength"]

    def part(number: int) -> CompletedPartTypeDef:
        begin = (number - 1) * COPIED_PART_BYTES
        end = min(begin + COPIED_PART_BYTES, size) - 1
        copied = s3.upload_part_copy(
            **upload, PartNumber=number, CopySource=source, CopySourceRange=f"bytes={begin}-{end}"
        )
        return {"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]}

    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        return list(pool.map(part, range(1, -(-size // COPIED_PART_BYTES) + 1)))


def _by_hash(s3: S3Client, container: LiveContainer, upload: _Upload) -> list[CompletedPartTypeDef]:
    """Send the object on, for a bucket that keeps no versions: what is there is known only once it has been read."""
    bucket, key = split_uri(container.model_data_url, "ModelDataUrl")
    digest = hashlib.sha256()
    parts: list[CompletedPartTypeDef] = []
    for number, piece in enumerate(_pieces(s3.get_object(Bucket=bucket, Key=key)["Body"]), 1):
        digest.update(piece)
        sent = s3.upload_part(**upload, PartNumber=number, Body=piece)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    if digest.hexdigest() != container.sha256:
        raise IntegrityError(
            f"{container.model_data_url}: the bytes are not those that were approved (SHA-256 {digest.hexdigest()}, "
            f"approved {container.sha256})."
        )
    return parts


def _pieces(body: StreamingBody) -> Iterator[bytes]:
    while piece := body.read(SENT_PART_BYTES):
        yield piece
