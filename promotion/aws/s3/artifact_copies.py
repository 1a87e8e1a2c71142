"""Copies of approved artifacts, for containers that don't compare their files with the manifest.

SageMaker reads an artifact by its plain address when a container starts, so a principal that may write there can replace
the bytes after the check. A copy is below this service's own prefix, under the SHA-256 of its bytes. Only the functions that
make copies may write there, and they can't overwrite (the evidence bucket's policy, infra/storage.py).

A folder of files (promotion/client/folder_artifact.py) is copied file by file; for a batch transform, which accepts no folder,
the approved files are packed as one archive, unless they are too large for the function that packs them.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import math
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypedDict

from botocore.exceptions import ClientError

from promotion import names
from promotion.client.artifact import Manifest, Member, split_uri
from promotion.client.folder_artifact import (
    CHUNK_BYTES,
    is_folder,
    object_chunks,
    object_list_key,
    read_object_list,
)
from promotion.client.image_address import is_image
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.errors import IntegrityError, Refused
from promotion.formatting import size

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef

# S3 copies parts of at most 5 GiB, and an object has at most 10,000 of them.
COPIED_PART_BYTES = 1 << 30
COPIES_AT_ONCE = 16
# Size of parts that this process uploads; only the last part may be under 5 MiB.
SENT_PART_BYTES = 64 << 20
# A function can read this twice and write it once within 15 minutes at 25 MB/s. The rate is an assumption; if it is
# lower, the time limit ends the packing.
LARGEST_PACKED_BYTES = 20_000_000_000
# Seconds left for the function to report.
SPARE_S = 45.0
_ARCHIVE = "model.tar.gz"
_MISSING = ("404", "NoSuchKey", "NoSuchVersion", "NoSuchBucket")
_THERE = ("PreconditionFailed", "ConditionalRequestConflict")


class _Upload(TypedDict):
    """The parameters that name a multipart upload in S3's calls."""

    Bucket: str
    Key: str
    UploadId: str


def with_copy(
    model: LiveModel,
    *,
    s3: S3Client,
    bucket: str,
    own_image: str,
    always: bool,
    for_transform: bool = False,
    remaining_s: Callable[[], float] = lambda: math.inf,
) -> LiveModel:
    """Return the model with the addresses of unchangeable copies, each made unless it is there.

    Args:
        model: The live record.
        s3: An S3 client that may read the artifact and write copies.
        bucket: The bucket of the copies.
        own_image: The service's own image: its containers compare their files with the manifest, and need no copy.
        always: Make a copy for those as well.
        for_transform: Pack folders, whichever the image. SageMaker: "Currently you cannot use ModelDataSource in conjunction
            with SageMaker batch transform" (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html).
        remaining_s: How many seconds the caller has left.

    Raises:
        IntegrityError: An approved object version is gone, or its bytes differ.
        Refused: A folder is too large to be packed.
    """

    def as_it_runs(container: LiveContainer) -> LiveContainer:
        own = is_image(container.image, own_image)
        packed = for_transform and is_folder(container.model_data_url)
        if not container.model_data_url or (own and not always and not packed):
            return container
        kept = keep_packed(s3, bucket, container, remaining_s) if packed else keep_copy(s3, bucket, container)
        return dataclasses.replace(container, model_data_url=kept)

    return dataclasses.replace(model, containers=tuple(map(as_it_runs, model.containers)))


def keep_copy(s3: S3Client, bucket: str, container: LiveContainer) -> str:
    """Return the address of the copy of a container's artifact; make it unless it is there.

    Raises:
        IntegrityError: The approved object version is gone, or its bytes differ.
    """
    if is_folder(container.model_data_url):
        return _keep_folder(s3, bucket, container)
    key = f"{names.COPIES}/{container.sha256}/{_ARCHIVE}"
    if not _exists(s3, bucket, key):
        source, name = split_uri(container.model_data_url, "ModelDataUrl")
        _copy(s3, _Original(source, name, container.model_data_version_id, container.sha256), bucket, key)
    return f"s3://{bucket}/{key}"


def keep_packed(
    s3: S3Client, bucket: str, container: LiveContainer, remaining_s: Callable[[], float] = lambda: math.inf
) -> str:
    """Return the address of an archive with the approved files of a folder; make it unless it is there.

    Raises:
        IntegrityError: An approved object version is gone, or its bytes differ.
        Refused: The folder is larger than the limit for packing, or time runs out; the message names its size.
    """
    key = f"{names.COPIES}/{container.sha256}/{_ARCHIVE}"
    if not _exists(s3, bucket, key):
        objects = _object_list(s3, bucket, container)
        whole = sum(member.size for member in objects.members)
        check_packable(container.model_data_url, whole)

        def check(done: int) -> None:
            if remaining_s() < SPARE_S:
                raise _unpackable(container.model_data_url, whole, f"{size(done)} were packed when the time ended")

        _write_once(s3, bucket, key, lambda upload: _packed(s3, container.model_data_url, objects, upload, check))
    return f"s3://{bucket}/{key}"


def check_packable(url: str, whole: int) -> None:
    """Check the size of a folder that a batch transform needs as one archive.

    Raises:
        Refused: It is too large; names size and limit.
    """
    if whole > LARGEST_PACKED_BYTES:
        raise _unpackable(url, whole, f"at most {size(LARGEST_PACKED_BYTES)} are packed as one archive")


def _unpackable(url: str, whole: int, why: str) -> Refused:
    return Refused(
        f"{url} has {size(whole)}: a batch transform takes no folder, and {why}. Register the model as one model.tar.gz, or "
        "report an evaluation of your own."
    )


def _keep_folder(s3: S3Client, bucket: str, container: LiveContainer) -> str:
    # Not in the archive's folder, because SageMaker reads everything below a prefix.
    folder = f"{names.COPIES}/{container.sha256}/files/"
    objects = _object_list(s3, bucket, container)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder)
    there = {each["Key"] for page in pages for each in page.get("Contents", ())}
    source, prefix = split_uri(container.model_data_url, "ModelDataSource")

    def copied(member: Member) -> None:
        original = _Original(source, prefix + member.path, member.version_id or "", member.sha256)
        if member.size:
            _copy(s3, original, bucket, folder + member.path)
        else:
            _put_empty(s3, bucket, folder + member.path)

    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        list(pool.map(copied, (each for each in objects.members if folder + each.path not in there)))
    return f"s3://{bucket}/{folder}"


def _object_list(s3: S3Client, bucket: str, container: LiveContainer) -> Manifest:
    found = read_object_list(s3, bucket, container.sha256)
    if found is None:
        raise IntegrityError(
            f"{container.model_data_url}: the list of its approved object versions is gone from "
            f"s3://{bucket}/{object_list_key(container.sha256)}."
        )
    return found


def _exists(s3: S3Client, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return False
        raise
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class _Original:
    """An approved object; without a version id its bytes are hashed while they are copied."""

    bucket: str
    key: str
    version_id: str
    sha256: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def _copy(s3: S3Client, original: _Original, bucket: str, key: str) -> None:
    copied = _by_version if original.version_id else _by_hash
    try:
        _write_once(s3, bucket, key, lambda upload: copied(s3, original, upload))
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            raise IntegrityError(f"{original.uri}: the approved artifact is gone.") from None
        raise


def _write_once(s3: S3Client, bucket: str, key: str, send: Callable[[_Upload], list[CompletedPartTypeDef]]) -> None:
    """Write an object as a multipart upload, whose completion S3 can make conditional on the object's absence."""
    begun = s3.create_multipart_upload(Bucket=bucket, Key=key)
    upload: _Upload = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}
    try:
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": send(upload)}, IfNoneMatch="*")
    except BaseException as error:
        s3.abort_multipart_upload(**upload)
        if not _is_there(error):
            raise


def _put_empty(s3: S3Client, bucket: str, key: str) -> None:
    """Write an empty file, for which a multipart upload has no parts."""
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"", IfNoneMatch="*")
    except ClientError as error:
        if not _is_there(error):
            raise


def _is_there(error: BaseException) -> bool:
    """Return True if another call already wrote the copy, with the same bytes."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _THERE


def _by_version(s3: S3Client, original: _Original, upload: _Upload) -> list[CompletedPartTypeDef]:
    """Copy the approved object version within S3; an object version never changes."""
    source: CopySourceTypeDef = {"Bucket": original.bucket, "Key": original.key, "VersionId": original.version_id}
    size = s3.head_object(Bucket=original.bucket, Key=original.key, VersionId=original.version_id)["ContentLength"]

    def part(number: int) -> CompletedPartTypeDef:
        begin = (number - 1) * COPIED_PART_BYTES
        end = min(begin + COPIED_PART_BYTES, size) - 1
        copied = s3.upload_part_copy(
            **upload, PartNumber=number, CopySource=source, CopySourceRange=f"bytes={begin}-{end}"
        )
        return {"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]}

    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        return list(pool.map(part, range(1, -(-size // COPIED_PART_BYTES) + 1)))


def _by_hash(s3: S3Client, original: _Original, upload: _Upload) -> list[CompletedPartTypeDef]:
    """Copy the object through this process, for a bucket without versions: only reading it verifies its content."""
    digest, sink = hashlib.sha256(), _Parts(s3, upload)
    for piece in _pieces(s3.get_object(Bucket=original.bucket, Key=original.key)["Body"]):
        digest.update(piece)
        sink.write(piece)
    if digest.hexdigest() != original.sha256:
        raise IntegrityError(
            f"{original.uri}: the bytes are not those that were approved (SHA-256 {digest.hexdigest()}, "
            f"approved {original.sha256})."
        )
    return sink.finished()


def _packed(
    s3: S3Client, url: str, objects: Manifest, upload: _Upload, check: Callable[[int], None]
) -> list[CompletedPartTypeDef]:
    """Upload the approved files as a tar archive in gzip format, uncompressed because weights hardly shrink.

    Before each part, `check` is called with the number of bytes sent so far; an exception from it ends the upload.
    """
    sink = _Parts(s3, upload, check)
    with (
        gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=0, mtime=0) as packed,
        tarfile.TarFile(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, copybufsize=CHUNK_BYTES) as archive,
    ):
        for member in objects.members:
            header = tarfile.TarInfo(member.path)
            header.size, header.mode = member.size, 0o644
            chunks = object_chunks(s3, url, member)
            archive.addfile(header, _Content(chunks))
            # The digest is compared at the end of the iterator, so the iterator must be exhausted.
            if any(chunks):
                raise IntegrityError(f"{url}{member.path}: it is longer than what was approved.")
    return sink.finished()


class _Content(io.RawIOBase):
    """A readable file over an iterator of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._left) < size and (chunk := next(self._chunks, b"")):
            self._left += chunk
        data, self._left = self._left[:size], self._left[size:]
        return data


class _Parts(io.RawIOBase):
    """A writable file that is uploaded in parts."""

    def __init__(self, s3: S3Client, upload: _Upload, check: Callable[[int], None] = lambda done: None) -> None:
        self._s3, self._upload, self._check = s3, upload, check
        self._sent = 0
        self._waiting = bytearray()
        self._parts: list[CompletedPartTypeDef] = []

    def write(self, data: Any) -> int:
        self._waiting += data
        while len(self._waiting) >= SENT_PART_BYTES:
            self._send(SENT_PART_BYTES)
        return len(data)

    def finished(self) -> list[CompletedPartTypeDef]:
        """Upload the last part, and return all parts."""
        if self._waiting or not self._parts:
            self._send(len(self._waiting))
        return self._parts

    def _send(self, size: int) -> None:
        self._check(self._sent)
        self._sent += size
        number = len(self._parts) + 1
        sent = self._s3.upload_part(**self._upload, PartNumber=number, Body=bytes(self._waiting[:size]))
        del self._waiting[:size]
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})


def _pieces(body: StreamingBody) -> Iterator[bytes]:
    while piece := body.read(SENT_PART_BYTES):
        yield piece
