"""Uncompressed artifacts: all objects below a prefix of S3, each by its object version.

SageMaker places them below /opt/ml/model, each under its key without the prefix. Such an artifact has two manifests: the list
of its files, which a container can compare with its own files, and the same list with the version id of each object, by which
the approved bytes can be read and copied. The SHA-256 of the second one is the artifact's; both are stored by digest in the
evidence bucket. An address that ends in a slash is such a prefix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from promotion import names
from promotion.client.archive import LARGEST_UNPACKED_BYTES, member_path
from promotion.client.artifact import HashedArtifact, Manifest, Member, split_uri
from promotion.client.kept_documents import KeptDocuments, Wanted, nothing
from promotion.errors import IntegrityError, Invalid

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_ssm.client import SSMClient

FIELD = "ModelDataSource"
MOST_OBJECTS = 10_000
CHUNK_BYTES = 1 << 20
_GONE = ("NoSuchKey", "NoSuchVersion", "404", "NoSuchBucket")
# The number of differences in a message.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object from a listing; with `etag`, a later read fails if the bytes have changed."""

    path: str
    size: int
    etag: str


def is_folder(url: str) -> bool:
    """Return True if an artifact's address is a prefix of S3, and not one archive."""
    return url.endswith("/")


def object_list_key(sha256: str) -> str:
    """Key of an artifact's list of object versions in the evidence bucket."""
    return f"{names.MANIFESTS}/{sha256}.json"


def list_folder(s3: S3Client, url: str) -> list[ListedObject]:
    """List the newest objects below a prefix, by path.

    Raises:
        Invalid: There are no objects, there are too many, or SageMaker could not place one of them as a file.
    """
    bucket, prefix = split_uri(url, FIELD)
    found: list[ListedObject] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        found.extend(
            ListedObject(_path(each["Key"], prefix), int(each["Size"]), str(each["ETag"]))
            for each in page.get("Contents", ())
        )
        if len(found) > MOST_OBJECTS:
            raise Invalid(FIELD, f"more than {MOST_OBJECTS:,} objects lie below {url}; pack them as one model.tar.gz.")
    if not found:
        raise Invalid(FIELD, f"there is no object at {url}.")
    if sum(each.size for each in found) > LARGEST_UNPACKED_BYTES:
        raise Invalid(FIELD, f"{url} has more than {LARGEST_UNPACKED_BYTES:,} bytes.")
    paths = {each.path for each in found}
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in paths:
                raise Invalid(
                    FIELD, f"{parent} is an object and has {path} below it: it can't be file and folder at once."
                )
    return sorted(found, key=lambda each: each.path)


def hash_folder(
    s3: S3Client,
    url: str,
    listed: Sequence[ListedObject],
    *,
    on_chunk: Callable[[], None] = lambda: None,
    on_bytes: Callable[[int], None] = lambda count: None,
    keep: Wanted = nothing,
) -> HashedArtifact:
    """Read the listed objects, and only in the state in which they were listed.

    Args:
        s3: An S3 client.
        url: The prefix.
        listed: Its objects.
        on_chunk: Called at least once a MiB and an object; what it raises ends the reading.
        on_bytes: Called with the number of bytes read so far, at least once a MiB.
        keep: How much of a file is kept as well.
    """
    bucket, prefix = split_uri(url, FIELD)
    members: list[Member] = []
    documents = KeptDocuments(keep)
    read = 0
    for each in listed:
        answer = s3.get_object(Bucket=bucket, Key=prefix + each.path, IfMatch=each.etag)
        digest = hashlib.sha256()
        kept = documents.begin(each.path, each.size)
        on_chunk()
        with closing(answer["Body"]) as body:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
                kept(chunk)
                on_chunk()
                read += len(chunk)
                on_bytes(read)
        version = answer.get("VersionId") or ""
        members.append(
            Member(each.path, each.size, digest.hexdigest(), version_id="" if version == "null" else version)
        )
    objects = Manifest(tuple(members))
    return HashedArtifact(
        sum(each.size for each in listed), objects.sha256, files_of(objects), documents.contents, objects
    )


def files_of(objects: Manifest) -> Manifest:
    """Return the list of files without their object versions, which a container can compare with its own files."""
    return Manifest(tuple(replace(member, version_id=None) for member in objects.members))


def read_object_list(s3: S3Client, bucket: str, sha256: str) -> Manifest | None:
    """Return an approved folder's object versions; None if their list can't be read, or is not the approved one."""
    try:
        body: bytes = s3.get_object(Bucket=bucket, Key=object_list_key(sha256))["Body"].read()
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in (*_GONE, "403", "AccessDenied"):
            return None
        raise
    if hashlib.sha256(body).hexdigest() != sha256:
        return None
    return Manifest(tuple(Member(**entry) for entry in json.loads(body)))


def find_object_list(ssm: SSMClient, s3: S3Client, prefix: str, sha256: str) -> Manifest | None:
    """Return an approved folder's object versions, looked up with the service's own parameter; None if it can't be read.

    Neither the parameter nor the bucket has to be trusted, because the signed record has the list's digest.
    """
    try:
        value = ssm.get_parameter(Name=names.service_parameter(prefix))["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return None
    except ssm.exceptions.ClientError as error:
        if "AccessDenied" in error.response["Error"]["Code"]:
            return None
        raise
    bucket = json.loads(value).get("evidence_bucket", "")
    return read_object_list(s3, bucket, sha256) if bucket else None


def object_chunks(s3: S3Client, url: str, member: Member) -> Iterator[bytes]:
    """Yield the bytes of an approved object version.

    Raises:
        IntegrityError: The object is gone, or its bytes differ; the latter is raised only after the last byte.
    """
    bucket, prefix = split_uri(url, FIELD)
    version: dict[str, Any] = {"VersionId": member.version_id} if member.version_id else {}
    digest = hashlib.sha256()
    try:
        with closing(s3.get_object(Bucket=bucket, Key=prefix + member.path, **version)["Body"]) as body:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise IntegrityError(f"{url}{member.path}: the approved object version is gone.") from None
        raise
    if digest.hexdigest() != member.sha256:
        raise IntegrityError(
            f"{url}{member.path}: the bytes are not those that were approved (SHA-256 {digest.hexdigest()}, "
            f"approved {member.sha256})."
        )


def check_newest(
    s3: S3Client, url: str, manifest_sha256: str, approved: Manifest | None, on_bytes: Callable[[int], None]
) -> None:
    """Read the newest objects below a prefix, the ones that readers of that address get, and compare them.

    `on_bytes` is called with the number of bytes read so far, at least once a MiB.

    Raises:
        IntegrityError: They are not the approved files.
    """
    try:
        found = hash_folder(s3, url, list_folder(s3, url), on_bytes=on_bytes).manifest
    except Invalid as error:
        raise IntegrityError(f"{url}: the files are not those that were approved: {error.reason}") from None
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise IntegrityError(f"{url}: the approved files are gone.") from None
        raise
    if found.sha256 == manifest_sha256:
        return
    lines = files_of(approved).differences(found) if approved else []
    named = "; ".join(lines[:_NAMED]) + (f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else "")
    raise IntegrityError(
        f"{url}: the files are not those that were approved ({named or f'SHA-256 of the manifest {found.sha256}'}). "
        "The approved bytes are their approved object versions: read those (promotion resolve --artifact --by-version, or "
        "resolve(…, artifact=True, by_version=True)), or put them back."
    )


def check_versions(s3: S3Client, url: str, approved: Manifest, on_bytes: Callable[[int], None]) -> None:
    """Read every approved object version.

    `on_bytes` is called with the number of bytes read so far, at least once a MiB.

    Raises:
        IntegrityError: An object is gone, or its bytes differ.
    """
    read = 0
    for member in approved.members:
        for chunk in object_chunks(s3, url, member):
            read += len(chunk)
            on_bytes(read)


def _path(key: str, prefix: str) -> str:
    """Return the path of an object below /opt/ml/model.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3ModelDataSource.html, CompressionType
    """
    name = key.removeprefix(prefix)
    if not name or name.endswith("/"):
        raise Invalid(
            FIELD,
            f"{key} is a folder made in the S3 console, an object whose name ends in a slash: SageMaker can't place it. "
            "Delete that object.",
        )
    try:
        path = member_path(name)
    except Invalid:
        path = ""
    if path != name:
        raise Invalid(FIELD, f"{name[:300]!r} can't be the name of a file below /opt/ml/model.")
    return path
