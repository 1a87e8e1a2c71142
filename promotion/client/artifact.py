"""What a model artifact is made of: its SHA-256 and a manifest of its members, in one pass over a stream; where it lies.

The manifest exists because SageMaker unpacks `model.tar.gz` before a container starts: the container can't see the
archive any more, but it can tell whether the files in front of it are those that were approved.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from promotion.errors import IntegrityError, Invalid

CHUNK_BYTES = 1 << 20
# An archive may not unpack to more than this: a bomb would otherwise cost a function its whole time.
LARGEST_UNPACKED_BYTES = 2 << 40
MOST_MEMBERS = 100_000


def split_uri(uri: str, field: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`.

    Raises:
        Invalid: it is not such an address.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key:
        raise Invalid(field, f"{uri!r} is not an s3://bucket/key address.")
    return bucket, key


@dataclass(frozen=True)
class Member:
    """A file in an artifact; `link` is set instead of a hash where the member is a link."""

    path: str
    size: int = 0
    sha256: str = ""
    link: str | None = None

    def as_json(self) -> dict[str, Any]:
        if self.link is not None:
            return {"path": self.path, "link": self.link}
        return {"path": self.path, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Manifest:
    """The files of an artifact, sorted by path. `sha256` is the digest over its canonical JSON."""

    members: tuple[Member, ...]

    def canonical(self) -> bytes:
        entries = [member.as_json() for member in self.members]
        return json.dumps(entries, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical()).hexdigest()

    def differences(self, other: Manifest) -> list[str]:
        """What `other` has changed, one line a path; empty when they are the same."""
        mine = {member.path: member for member in self.members}
        theirs = {member.path: member for member in other.members}
        lines = [f"{path}: missing" for path in sorted(mine.keys() - theirs.keys())]
        lines += [f"{path}: not in the approved artifact" for path in sorted(theirs.keys() - mine.keys())]
        lines += [f"{path}: changed" for path in sorted(mine.keys() & theirs.keys()) if mine[path] != theirs[path]]
        return lines


@dataclass(frozen=True)
class HashedArtifact:
    """An artifact as it was read once, from first byte to last."""

    size: int
    sha256: str
    manifest: Manifest


class Readable(Protocol):
    """What can be read in order, once."""

    def read(self, size: int = -1, /) -> bytes: ...


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


def hash_artifact(stream: Readable, *, name: str = "model.tar.gz") -> HashedArtifact:
    """Hash an artifact and its members in one pass, in constant memory.

    Anything that is not a tar archive is an artifact of one file, called `name`.

    Raises:
        Invalid: the archive is damaged, has too many members or unpacks to an absurd size.
    """
    head = stream.read(CHUNK_BYTES)
    reader = _HashingStream(_Prefixed(head, stream))
    if not _is_tar(head):
        while reader.read(CHUNK_BYTES):
            pass
        member = Member(name, reader.size, reader.hexdigest())
        return HashedArtifact(reader.size, reader.hexdigest(), Manifest((member,)))
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r|*", bufsize=CHUNK_BYTES) as archive:
            members = tuple(sorted(_members(archive), key=lambda member: member.path))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Invalid("ModelDataUrl", f"the archive is damaged and can't be read to its end: {error}") from None
    # What follows the end marker belongs to the bytes, if not to the archive.
    while reader.read(CHUNK_BYTES):
        pass
    return HashedArtifact(reader.size, reader.hexdigest(), Manifest(members))


def manifest_of_folder(folder: str | os.PathLike[str]) -> Manifest:
    """The manifest of an unpacked artifact.

    Raises:
        IntegrityError: something in it is neither a file, a folder nor a link.
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


def _members(archive: tarfile.TarFile) -> Iterator[Member]:
    unpacked = 0
    found: dict[str, Member] = {}
    for count, info in enumerate(archive):
        if count >= MOST_MEMBERS:
            raise Invalid("ModelDataUrl", f"the archive has more than {MOST_MEMBERS} members.")
        path = str(PurePosixPath(info.name))
        if info.issym() or info.islnk():
            found[path] = Member(path, link=info.linkname)
        elif info.isfile():
            unpacked += info.size
            if unpacked > LARGEST_UNPACKED_BYTES:
                raise Invalid("ModelDataUrl", f"the archive unpacks to more than {LARGEST_UNPACKED_BYTES} bytes.")
            file = archive.extractfile(info)
            assert file is not None
            # A later member of the same name replaces the earlier one, as it does when tar unpacks it.
            found[path] = Member(path, info.size, hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type]
        elif not info.isdir():
            found[path] = Member(path, link=f"special file of type {info.type!r}")
    yield from found.values()


def _is_tar(head: bytes) -> bool:
    compressed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"))
    return compressed or head[257:262] == b"ustar"


class _Prefixed:
    """A stream with bytes put back in front of it."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._stream.read(size)
        if size < 0:
            data, self._head = self._head + self._stream.read(), b""
            return data
        data, self._head = self._head[:size], self._head[size:]
        return data
