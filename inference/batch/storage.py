"""Local files and objects in S3, by one kind of address."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.exceptions import ClientError

from promotion.client.artifact import split_uri
from promotion.errors import IntegrityError, Invalid

_GONE = ("404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion")


@lru_cache(maxsize=8)
def client(service: str) -> Any:
    """Return the client of a service, made once."""
    make: Callable[..., Any] = boto3.client
    return make(service)


@dataclass(frozen=True, slots=True)
class Source:
    """One input file. `identity` changes with its content; `name` is its path below the requested one."""

    uri: str
    name: str
    size: int
    identity: str


def sources(uri: str) -> list[Source]:
    """Return the files at `uri`: one, or all below a folder or prefix, in the order of their names.

    Raises:
        Invalid: there is no file.
    """
    found = list(_objects(uri) if uri.startswith("s3://") else _files(Path(uri)))
    if not found:
        raise Invalid("input", f"there is nothing at {uri}.")
    return found


def exists(prefix: str) -> bool:
    """Return True if anything lies below a folder or prefix, which ends with a slash."""
    if prefix.startswith("s3://"):
        return next(_objects(prefix), None) is not None
    return Path(prefix).is_dir() and any(Path(prefix).iterdir())


def fetch(source: Source, folder: Path) -> Path:
    """Return a local path with the source's content; local files are not copied."""
    if not source.uri.startswith("s3://"):
        return Path(source.uri)
    path = folder / short_hash(f"{source.uri} {source.identity}") / Path(source.name).name
    if not path.exists():
        bucket, key = split_uri(source.uri, "input")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.part")
        client("s3").download_file(bucket, key, str(partial))
        partial.rename(path)
    return path


def put(path: Path, uri: str) -> None:
    """Store a file at `uri`."""
    if uri.startswith("s3://"):
        bucket, key = split_uri(uri, "output")
        client("s3").upload_file(str(path), bucket, key)
    elif Path(uri).resolve() != path.resolve():
        target = Path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def put_bytes(data: bytes, uri: str) -> None:
    """Store bytes at `uri`."""
    if uri.startswith("s3://"):
        bucket, key = split_uri(uri, "output")
        client("s3").put_object(Bucket=bucket, Key=key, Body=data)
    else:
        Path(uri).write_bytes(data)


def read_bytes(uri: str) -> bytes:
    """Read a small file or object at once, without listing, for which some roles have no permission."""
    if not uri.startswith("s3://"):
        return Path(uri).read_bytes()
    bucket, key = split_uri(uri, "input")
    body: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def opened(source: Source) -> AbstractContextManager[IO[bytes]]:
    """Open the source's bytes as a stream, which may be larger than this machine's disk."""
    if not source.uri.startswith("s3://"):
        return Path(source.uri).open("rb")
    bucket, key = split_uri(source.uri, "input")
    body = client("s3").get_object(Bucket=bucket, Key=key, IfMatch=source.identity)["Body"]
    return closing(io.BufferedReader(_Raw(body), 1 << 20))


def opened_pinned(uri: str, version_id: str, etag: str) -> tuple[int, AbstractContextManager[IO[bytes]]]:
    """Return size and bytes of a pinned object: by its version, or by its ETag if the bucket has no versions."""
    bucket, key = split_uri(uri, "artifact")
    pin = {"VersionId": version_id} if version_id else {}
    answer = client("s3").get_object(Bucket=bucket, Key=key, IfMatch=etag, **pin)
    return int(answer["ContentLength"]), closing(io.BufferedReader(_Raw(answer["Body"]), 1 << 20))


def short_hash(text: str) -> str:
    """Return a short hash of a name that is too long or unsuitable for a folder."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Raw(io.RawIOBase):
    """A response's body as a raw file, which can be buffered and read by lines."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def download_hashed(
    url: str, version_id: str, path: Path, progress: Callable[[int], object] = lambda size: None
) -> str:
    """Download an artifact and return the SHA-256 of its bytes.

    Raises:
        IntegrityError: the artifact is gone.
    """
    bucket, key = split_uri(url, "model_data_url")
    extra = {"VersionId": version_id} if version_id else {}
    digest = hashlib.sha256()
    try:
        body = client("s3").get_object(Bucket=bucket, Key=key, **extra)["Body"]
        with path.open("wb") as sink:
            for chunk in body.iter_chunks(1 << 20):
                digest.update(chunk)
                sink.write(chunk)
                progress(len(chunk))
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise IntegrityError(f"{url}: the approved artifact is gone.") from None
        raise
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Source]:
    if path.is_file():
        yield _file(path, path.name)
    elif path.is_dir():
        for entry in sorted(path.rglob("*")):
            if entry.is_file() and not entry.name.startswith("."):
                yield _file(entry, entry.relative_to(path).as_posix())


def _file(path: Path, name: str) -> Source:
    stat = path.stat()
    return Source(str(path), name, stat.st_size, f"{stat.st_size} {stat.st_mtime_ns}")


def _objects(uri: str) -> Iterator[Source]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    try:
        for page in pages:
            for entry in page.get("Contents", []):
                key = entry["Key"]
                # A prefix must be a folder or a whole name: `input.jsonl` must not match input.jsonl.bak.
                below = key.removeprefix(prefix)
                if key.endswith("/") or (below and prefix and not (prefix.endswith("/") or below.startswith("/"))):
                    continue
                name = below.lstrip("/") or key.rpartition("/")[2]
                yield Source(f"s3://{bucket}/{key}", name, int(entry["Size"]), str(entry["ETag"]))
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            return
        raise
