"""Read a model archive (`model.tar.gz`) as a stream: one reader for hashing and for unpacking.

Registration hashes and the inference image unpacks what this module yields, so both see the same files. An archive that tar
programs would unpack to different files, or whose members don't belong in a model, is refused with the reason.
`tarfile` parses the headers; the decompression, the bounds and the end of the archive are checked here, because `tarfile` takes
a broken header in the middle of an archive for its end.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from promotion.errors import Invalid

FIELD = "ModelDataUrl"
CHUNK_BYTES = 1 << 20
# Room for the largest models that one machine loads; a bomb is far beyond it.
LARGEST_UNPACKED_BYTES = 1 << 40
# Weights hardly shrink. What unpacks to so many times its size, and to more than this, only costs time and disk.
MOST_TIMES, ALWAYS_ALLOWED_BYTES = 50, 4 << 30
MOST_MEMBERS = 250_000
# A PAX or GNU header, or the map of a sparse file; tarfile reads it into memory whole, whatever length it claims.
LONGEST_HEADER_BYTES = 1 << 20
# The names of all members together, which a manifest keeps in memory.
MOST_NAME_BYTES = 32 << 20
# Linux takes a path of 4,096 bytes, the folder that it is unpacked into included, of names of 255 bytes each.
LONGEST_PATH_BYTES, LONGEST_NAME_BYTES, DEEPEST = 3_800, 255, 64

_READ_BYTES = 1 << 16
_BLOCK = tarfile.BLOCKSIZE
_ZEROS = memoryview(bytes(CHUNK_BYTES))
_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
# Keywords that say where or how long a member is, and so may stand in a member's own header alone.
_OF_ONE_MEMBER = ("path", "linkpath", "size", "hdrcharset")
_OTHER_FORMATS = {
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PK\x03\x04": "a zip file",
}


class Readable(Protocol):
    """A stream that is read in order, once."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class ArchiveMember:
    """A member of an archive; `target` is the earlier file that a hard link has the bytes of."""

    path: str
    kind: Literal["file", "folder", "link"]
    size: int = 0
    target: str = ""


def read_archive(
    stream: Readable, *, size: int | None = None, largest: int = LARGEST_UNPACKED_BYTES
) -> Iterator[tuple[ArchiveMember, Iterator[memoryview]]]:
    """Yield each member with its content, in the archive's order; what isn't consumed of a content is skipped.

    Args:
        stream: The archive's bytes, read to their end.
        size: Number of those bytes, if it is known: how much it may unpack to follows from it.
        largest: Number of bytes that it may unpack to at most.

    Raises:
        Invalid: It is not a gzip-compressed tar archive, is damaged, or holds what no model needs.
    """
    with _damage_refused():
        unpacked = _Unpacked(stream)
        yield from _members(unpacked, size, largest)
        unpacked.expect_end()


def member_path(name: str) -> str:
    """The path of a member below the folder that an archive is unpacked into.

    Raises:
        Invalid: It leads out of that folder, or can't be created on every machine.
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
    """What tarfile and zlib raise on damaged bytes, as Invalid."""
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, RecursionError, IndexError) as error:
        raise _damaged(error) from None


def _guarded(content: Iterator[memoryview]) -> Iterator[memoryview]:
    with _damage_refused():
        yield from content


def _damaged(error: object) -> Invalid:
    return Invalid(FIELD, f"the archive is damaged and can't be read to its end: {str(error) or type(error).__name__}")


class _Unpacked:
    """The tar stream inside of a gzip stream, decompressed a piece at a time.

    Has what tarfile needs to parse a header: `read` and `tell`. `header_left` bounds what it may read for one.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._gzip = zlib.decompressobj(wbits=31)
        self._piece = memoryview(b"")
        self._position = 0
        self._ended = False
        self.compressed = 0
        self.header_left: int | None = None
        head = self._compressed()
        if head[:2] != b"\x1f\x8b":
            what = next((text for magic, text in _OTHER_FORMATS.items() if head.startswith(magic)), "")
            if head[257:262] == b"ustar":
                what = "a tar archive without compression"
            raise Invalid(
                FIELD,
                f"the artifact is {what or 'not an archive'}; SageMaker unpacks tar archives compressed with gzip "
                "(model.tar.gz). Pack it with tar -czf and register it again.",
            )
        self._waiting = head

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer at the end. For headers: small."""
        if self.header_left is not None:
            self.header_left -= size
            if size > LONGEST_HEADER_BYTES + _BLOCK or self.header_left < 0:
                raise Invalid(FIELD, f"the archive has a header of more than {LONGEST_HEADER_BYTES} bytes.")
        if size <= len(self._piece):
            block, self._piece = bytes(self._piece[:size]), self._piece[size:]
            self._position += size
            return block
        parts = list(self.pieces(size))
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which stay to be read; fewer at the end."""
        while len(self._piece) < size:
            rest = bytes(self._piece)
            if not self._fill():
                self._piece = memoryview(rest)
                break
            self._piece = memoryview(rest + bytes(self._piece)) if rest else self._piece
        return bytes(self._piece[:size])

    def pieces(self, size: int) -> Iterator[memoryview]:
        """At most `size` bytes in pieces of at most 1 MiB, without copying them; fewer at the end."""
        while size:
            if not len(self._piece) and not self._fill():
                return
            piece, self._piece = self._piece[:size], self._piece[size:]
            size -= len(piece)
            self._position += len(piece)
            yield piece

    def expect_end(self) -> None:
        """Read the padding after the end marker, up to the stream's end.

        Raises:
            Invalid: There is more than padding.
        """
        left = ALWAYS_ALLOWED_BYTES
        for piece in self.pieces(left):
            left -= len(piece)
            if piece != _ZEROS[: len(piece)]:
                raise Invalid(FIELD, "the archive goes on after its end marker; pack it again as one archive.")
        if not left:
            raise Invalid(FIELD, f"the archive has more than {ALWAYS_ALLOWED_BYTES} bytes of padding.")

    def _compressed(self) -> bytes:
        data = self._stream.read(_READ_BYTES)
        self.compressed += len(data)
        return data

    def _fill(self) -> bool:
        """Decompress the next piece; False at the end of the last gzip member."""
        while not self._ended:
            data = self._waiting or self._compressed()
            if not data:
                raise EOFError("the gzip stream was cut short")
            piece = self._gzip.decompress(data, CHUNK_BYTES)
            self._waiting = self._gzip.unconsumed_tail
            if self._gzip.eof:
                self._next_gzip_member(self._gzip.unused_data)
            if piece:
                self._piece = memoryview(piece)
                return True
        return False

    def _next_gzip_member(self, rest: bytes) -> None:
        """Go on with the gzip member that follows, as gzip does; zeros after the last one are padding."""
        while len(rest) < 2 and (more := self._compressed()):
            rest += more
        if rest[:2] == b"\x1f\x8b":
            self._gzip = zlib.decompressobj(wbits=31)
            self._waiting = rest
            return
        self._ended, self._waiting = True, b""
        while rest:
            if rest.strip(b"\0"):
                raise Invalid(FIELD, "bytes that are no archive follow the end of the gzip stream; pack it again.")
            rest = self._compressed()


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


def _members(stream: _Unpacked, size: int | None, largest: int) -> Iterator[tuple[ArchiveMember, Iterator[memoryview]]]:
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


def _has_next(stream: _Unpacked) -> bool:
    """Whether another header follows rather than the end marker, which is two blocks of zeros."""
    block = stream.peek(_BLOCK)
    if len(block) < _BLOCK:
        raise EOFError("it ends without an end marker")
    return bool(block.strip(b"\0"))


def _next_header(parser: Any, stream: _Unpacked) -> tarfile.TarInfo:
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


def _sparse(stream: _Unpacked, stored: list[tuple[int, int]], member: ArchiveMember) -> Iterator[memoryview]:
    """A sparse file as it unpacks: zeros where nothing is stored."""
    written = 0
    for offset, length in stored:
        if offset < written or length < 0 or offset + length > member.size:
            raise _damaged(f"the map of the sparse file {member.path} is wrong")
        yield from _zeros(offset - written)
        yield from stream.pieces(length)
        written = offset + length
    yield from _zeros(member.size - written)


def _zeros(count: int) -> Iterator[memoryview]:
    while count > 0:
        yield _ZEROS[:count]
        count -= CHUNK_BYTES


def _skip(stream: _Unpacked, end: int) -> None:
    """Read up to the position `end`."""
    for _ in stream.pieces(end - stream.tell()):
        pass
    if stream.tell() < end:
        raise EOFError("it ends within a member")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
