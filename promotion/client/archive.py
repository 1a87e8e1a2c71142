"""Read a model archive (`model.tar.gz`) as a stream: one reader for hashing and for unpacking.

Registration hashes and the inference image unpacks what this module yields, so both see the same files. An archive that tar
programs would unpack to different files, or whose members don't belong in a model, is refused with the reason.
`tarfile` parses the headers; the decompression, the limits and the end of the archive are checked here, because `tarfile`
treats a broken header in the middle of an archive as its end.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from promotion.client.gzip_stream import CHUNK_BYTES, FIELD, LONGEST_HEADER_BYTES, ZEROS, GzipStream, Readable
from promotion.errors import Invalid

# Enough for the largest models that one machine loads; a decompression bomb is far larger.
LARGEST_UNPACKED_BYTES = 1 << 40
# Weights hardly compress. An archive that unpacks to so many times its size, and to more than this, is no model.
MOST_TIMES, ALWAYS_ALLOWED_BYTES = 50, 4 << 30
MOST_MEMBERS = 250_000
# The names of all members together, which a manifest keeps in memory.
MOST_NAME_BYTES = 32 << 20
# Linux takes a path of 4,096 bytes, the folder that it is unpacked into included, of names of 255 bytes each.
LONGEST_PATH_BYTES, LONGEST_NAME_BYTES, DEEPEST = 3_800, 255, 64

_BLOCK = tarfile.BLOCKSIZE
_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
# Keywords for a member's place or length, which are allowed in a member's own header only.
_OF_ONE_MEMBER = ("path", "linkpath", "size", "hdrcharset")


@dataclass(frozen=True)
class ArchiveMember:
    """A member of an archive; `target` is the earlier file that a hard link has the bytes of."""

    path: str
    kind: Literal["file", "folder", "link"]
    size: int = 0
    target: str = ""


def read_archive(
    stream: Readable, *, size: int | None, largest: int = LARGEST_UNPACKED_BYTES
) -> Iterator[tuple[ArchiveMember, Iterator[memoryview]]]:
    """Yield each member with its content, in the archive's order; unread content is skipped.

    Args:
        stream: The archive's bytes, read to their end.
        size: Number of those bytes, if it is known: how much it may unpack to follows from it.
        largest: Number of bytes that it may unpack to at most.

    Raises:
        Invalid: It is not a gzip-compressed tar archive, is damaged, or holds what no model needs.
    """
    with _damage_refused():
        unpacked = GzipStream(stream)
        yield from _members(unpacked, size, largest)
        unpacked.expect_end(ALWAYS_ALLOWED_BYTES)


def member_path(name: str) -> str:
    """Return the path of a member below the folder that an archive is unpacked into.

    Raises:
        Invalid: The path leads out of that folder, or can't be created on every machine.
    """
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise Invalid(
            FIELD, f"the name {name.encode(errors='replace').decode()!r} in the archive is not UTF-8."
        ) from None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise Invalid(FIELD, f"{name[:300]!r} in the archive points outside of it.")
    if not name.isprintable():
        raise Invalid(FIELD, f"the name {name[:300]!r} in the archive has characters that can't be printed.")
    if (
        len(encoded) > LONGEST_PATH_BYTES
        or len(parts) > DEEPEST
        or (len(encoded) > LONGEST_NAME_BYTES and max(len(part.encode()) for part in parts) > LONGEST_NAME_BYTES)
    ):
        raise Invalid(
            FIELD, f"the name {name[:100]!r}… in the archive is too long or too deep to be unpacked everywhere."
        )
    return "/".join(parts) or "."


@contextmanager
def _damage_refused() -> Iterator[None]:
    """Raise Invalid for the errors of tarfile and zlib on damaged bytes."""
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, RecursionError, IndexError) as error:
        raise _damaged(error) from None


def _guarded(content: Iterator[memoryview]) -> Iterator[memoryview]:
    with _damage_refused():
        yield from content


def _damaged(error: object) -> Invalid:
    return Invalid(FIELD, f"the archive is damaged and can't be read to its end: {str(error) or type(error).__name__}")


class _Header(tarfile.TarInfo):
    """A header of a sensible length."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Any:
        found = super().frombuf(buf, encoding, errors)
        if found.size < 0:
            raise tarfile.HeaderError("a size below zero")
        if found.type in _LONG_HEADERS and found.size > LONGEST_HEADER_BYTES:
            raise Invalid(FIELD, f"the archive has a header of {found.size} bytes, which no model needs.")
        return found


class _Names:
    """The names of an archive so far: no file twice, and no file where another member needs a folder."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self._folders: set[str] = set()
        self._bytes = 0

    def add_folder(self, path: str) -> None:
        self._add(path, folder=True)
        self._folders.add(path)

    def add_file(self, path: str, size: int) -> None:
        self._add(path, folder=False)
        self.files[path] = size

    def _add(self, path: str, *, folder: bool) -> None:
        if path in self.files or (not folder and path in self._folders):
            raise Invalid(FIELD, f"the archive is damaged: it has {path!r} more than once.")
        self._bytes += len(path)
        if self._bytes > MOST_NAME_BYTES:
            raise Invalid(FIELD, f"the archive's names have more than {MOST_NAME_BYTES} bytes.")
        while (path := path.rpartition("/")[0]) and path not in self._folders:
            if path in self.files:
                raise Invalid(FIELD, f"the archive is damaged: {path!r} is a file and a folder.")
            self._folders.add(path)


def _members(
    stream: GzipStream, size: int | None, largest: int
) -> Iterator[tuple[ArchiveMember, Iterator[memoryview]]]:
    # It begins with an archive without members; each header is then read by the documented `fromtarfile`.
    parser: Any = tarfile.TarFile(
        fileobj=io.BytesIO(bytes(2 * _BLOCK)), tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
    )
    parser.fileobj = stream
    known, unpacked, count = _Names(), 0, 0
    while _has_next(stream):
        count += 1
        if count > MOST_MEMBERS:
            raise Invalid(FIELD, f"the archive has more than {MOST_MEMBERS} members.")
        info = _next_header(parser, stream)
        member = _member(info, known)
        stored = 0 if member.kind != "file" else member.size
        # typeshed has bytes here; it is the list of (offset, length).
        holes: Any = info.sparse
        if holes is not None:
            stored = sum(length for _, length in holes)
        begun = stream.tell()
        if parser.offset != begun + _padded(stored) and not (holes is not None and "size" in info.pax_headers):
            raise _damaged(f"{member.path} is not as long as its header says")
        unpacked += member.size
        allowed = min(largest, max(ALWAYS_ALLOWED_BYTES, MOST_TIMES * max(size or 0, stream.compressed)))
        if unpacked > allowed or begun > allowed:
            raise Invalid(
                FIELD,
                f"the archive unpacks to more than {allowed} bytes; at most {MOST_TIMES} times its own size may be, "
                f"and never more than {largest} bytes.",
            )
        content = _sparse(stream, holes, member) if holes is not None else stream.pieces(stored)
        yield member, _guarded(content)
        _skip(stream, begun + _padded(stored))


def _has_next(stream: GzipStream) -> bool:
    """Return True if another header follows; the end marker is two blocks of zeros."""
    block = stream.peek(_BLOCK)
    if len(block) < _BLOCK:
        raise EOFError("it ends without an end marker")
    return bool(block.strip(b"\0"))


def _next_header(parser: Any, stream: GzipStream) -> tarfile.TarInfo:
    # The blocks of the headers themselves included.
    stream.header_left = LONGEST_HEADER_BYTES + 16 * _BLOCK
    found: tarfile.TarInfo = _Header.fromtarfile(parser)
    stream.header_left = None
    shared = [key for key in parser.pax_headers if key in _OF_ONE_MEMBER or key.startswith("GNU.sparse")]
    if shared or sum(map(len, parser.pax_headers.values())) > _BLOCK * 16:
        raise Invalid(FIELD, f"the archive has a global header with {', '.join(shared) or 'too much in it'}.")
    if found.size < 0:
        raise tarfile.HeaderError("a size below zero")
    return found


def _member(info: tarfile.TarInfo, known: _Names) -> ArchiveMember:
    path = member_path(info.name)
    if info.isdir():
        if info.size:
            raise _damaged(f"the folder {path} has content")
        if path != ".":
            known.add_folder(path)
        return ArchiveMember(path, "folder")
    if path == "." or info.name.endswith("/") or str(info.pax_headers.get("path", "")).endswith("/"):
        raise _damaged(f"{info.name!r} is the name of a folder, but not a folder")
    if info.isreg():
        # A sparse file above 8 GiB has two sizes: as stored, and as unpacked.
        real = info.pax_headers.get("GNU.sparse.realsize") if info.sparse is not None else None
        size = int(real) if real else info.size
        known.add_file(path, size)
        return ArchiveMember(path, "file", size)
    if not info.islnk():
        raise Invalid(
            FIELD,
            f"{path} in the archive is {_KINDS.get(info.type, f'a member of type {info.type!r}')}, a link or a device, "
            "which no model needs; pack it with the files themselves (tar --dereference).",
        )
    target = member_path(info.linkname)
    if target not in known.files or info.size:
        raise Invalid(
            FIELD,
            f"{path} in the archive is a link or a device, which no model needs: a hard link to {target!r}, which is no "
            "earlier file of the archive.",
        )
    known.add_file(path, known.files[target])
    return ArchiveMember(path, "link", known.files[target], target)


_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}


def _sparse(stream: GzipStream, stored: list[tuple[int, int]], member: ArchiveMember) -> Iterator[memoryview]:
    """A sparse file as it unpacks: zeros where nothing is stored."""
    written = 0
    for offset, length in stored:
        # GNU tar's header has room for four, and leaves those that it doesn't need zero.
        if (offset, length) == (0, 0):
            continue
        if offset < written or length < 0 or offset + length > member.size:
            raise _damaged(f"the map of the sparse file {member.path} is wrong")
        yield from _zeros(offset - written)
        yield from stream.pieces(length)
        written = offset + length
    yield from _zeros(member.size - written)


def _zeros(count: int) -> Iterator[memoryview]:
    while count > 0:
        yield ZEROS[:count]
        count -= CHUNK_BYTES


def _skip(stream: GzipStream, end: int) -> None:
    """Read up to the position `end`."""
    for _ in stream.pieces(end - stream.tell()):
        pass
    if stream.tell() < end:
        raise EOFError("it ends within a member")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
