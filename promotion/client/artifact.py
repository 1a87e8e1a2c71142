"""SHA-256 and manifest of a model artifact, computed in one pass over a stream; its address in S3.

The manifest is needed because SageMaker unpacks `model.tar.gz` before a container starts: the container doesn't have the
archive, but with the manifest it can verify that its files are the approved ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promotion.client.archive import read_archive
from promotion.client.gzip_stream import Readable
from promotion.client.kept_documents import KeptDocuments, Wanted, nothing
from promotion.errors import IntegrityError, Invalid

# As botocore takes them, without ARNs: those of access points have a slash in them.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
# Nothing but plain values: a canonical text is written an entry at a time, so that a manifest is never in memory twice.
_ENTRY = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def split_uri(uri: str, field: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`.

    Raises:
        Invalid: it is not such an address, or the bucket's name is not valid.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key:
        raise Invalid(field, f"{uri!r} is not an s3://bucket/key address.")
    if not _BUCKET.fullmatch(bucket):
        raise Invalid(field, f"{bucket[:80]!r} is no name of a bucket.")
    return bucket, key


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an artifact; a symbolic link (in folders only, never in archives) has `link` and no hash.

    `version_id` is there for an object in S3: its object version, empty where the bucket keeps none.
    """

    path: str
    size: int = 0
    sha256: str = ""
    link: str | None = None
    version_id: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the member as it is written into the manifest: its path with a link, or with size and digest."""
        if self.link is not None:
            return {"path": self.path, "link": self.link}
        version = {} if self.version_id is None else {"version_id": self.version_id}
        return {"path": self.path, "size": self.size, "sha256": self.sha256, **version}


@dataclass(frozen=True)
class Manifest:
    """The files of an artifact, sorted by path. `sha256` is the digest over its canonical JSON."""

    members: tuple[Member, ...]

    def canonical(self) -> bytes:
        """Return the manifest as canonical JSON."""
        return b"".join(self._canonical())

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical manifest, hex."""
        digest = hashlib.sha256()
        for part in self._canonical():
            digest.update(part)
        return digest.hexdigest()

    def _canonical(self) -> Iterator[bytes]:
        separator = "["
        for member in self.members:
            # A folder may contain a name that is not UTF-8, though no approved archive does: it is a difference, not a crash.
            yield f"{separator}{_ENTRY(member.as_json())}".encode(errors="surrogateescape")
            separator = ","
        yield b"]" if self.members else b"[]"

    def differences(self, other: Manifest) -> list[str]:
        """List the differences of `other`, one line a path; empty if both are equal."""
        mine = {member.path: member for member in self.members}
        theirs = {member.path: member for member in other.members}
        lines = [f"{path}: missing" for path in sorted(mine.keys() - theirs.keys())]
        lines += [f"{path}: not in the approved artifact" for path in sorted(theirs.keys() - mine.keys())]
        lines += [f"{path}: changed" for path in sorted(mine.keys() & theirs.keys()) if mine[path] != theirs[path]]
        return lines


@dataclass(frozen=True)
class HashedArtifact:
    """An artifact as it was read once, from first byte to last; `documents` are the members that were to be kept, by path.

    `objects` is there for a folder in S3 (promotion/client/folder_artifact.py): its files with their object versions.
    """

    size: int
    sha256: str
    manifest: Manifest
    documents: Mapping[str, bytes] = field(default_factory=dict)
    objects: Manifest | None = None

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The lists to store: the files, and their object versions if there are any."""
        return (self.manifest,) if self.objects is None else (self.manifest, self.objects)


class _HashingStream:
    """A file object that hashes whatever is read through it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def hash_artifact(
    stream: Readable,
    *,
    size: int | None = None,
    on_chunk: Callable[[], None] = lambda: None,
    keep: Wanted = nothing,
) -> HashedArtifact:
    """Hash an artifact and its members in one pass, in linear time, with a few MiB besides the manifest.

    Args:
        stream: The artifact's bytes.
        size: Number of its bytes, if known.
        on_chunk: Called at least once a MiB and a member; what it raises ends the pass.
        keep: How much of a member is kept as well.

    Raises:
        Invalid: It is not a tar archive compressed with gzip, is damaged, or holds what no model needs.
    """
    reader = _HashingStream(stream)
    found: dict[str, Member] = {}
    documents = KeptDocuments(keep)
    for member, content in read_archive(reader, size=size):
        on_chunk()
        if member.kind == "file":
            digest = hashlib.sha256()
            kept = documents.begin(member.path, member.size)
            for chunk in content:
                digest.update(chunk)
                kept(chunk)
                on_chunk()
            found[member.path] = Member(member.path, member.size, digest.hexdigest())
        elif member.kind == "link":
            # It unpacks to a file of the same bytes.
            same = found[member.target]
            found[member.path] = Member(member.path, same.size, same.sha256)
    members = tuple(sorted(found.values(), key=lambda member: member.path))
    return HashedArtifact(reader.size, reader.hexdigest(), Manifest(members), documents.contents)


def manifest_of_folder(folder: str | os.PathLike[str]) -> Manifest:
    """Return the manifest of an unpacked artifact.

    Raises:
        IntegrityError: an entry is neither a file, a folder nor a link.
    """
    root = Path(folder)
    members: list[Member] = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            members.append(Member(name, link=str(path.readlink())))
        elif path.is_file():
            with path.open("rb") as file:
                members.append(Member(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()))
        elif not path.is_dir():
            raise IntegrityError(f"{name} is neither a file nor a folder.")
    return Manifest(tuple(sorted(members, key=lambda member: member.path)))
