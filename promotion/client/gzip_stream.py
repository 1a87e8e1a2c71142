"""The tar stream inside of a gzip stream: decompressed piece by piece, with a limit on the size of headers."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from typing import Protocol

from promotion.errors import Invalid

FIELD = "ModelDataUrl"
CHUNK_BYTES = 1 << 20
# A PAX or GNU header, or the map of a sparse file; tarfile reads it into memory whole, up to its claimed length.
LONGEST_HEADER_BYTES = 1 << 20
ZEROS = memoryview(bytes(CHUNK_BYTES))

_READ_BYTES = 1 << 16
_OTHER_FORMATS = {
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PK\x03\x04": "a zip file",
}


class Readable(Protocol):
    """A stream that is read in order, once."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes; fewer only at the end of the stream, all of them for -1."""


class GzipStream:
    """The tar stream inside of a gzip stream, decompressed a piece at a time.

    Has what tarfile needs to parse a header: `read` and `tell`. `header_left` bounds what it may read for one.
    """

    def __init__(self, stream: Readable) -> None:
        """Read the beginning of `stream`.

        Raises:
            Invalid: It is not compressed with gzip.
        """
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
        """Return how many bytes of the tar stream were read."""
        return self._position

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes, fewer at the end. Only for headers, which are small."""
        if self.header_left is not None:
            self.header_left -= size
            if size > LONGEST_HEADER_BYTES + tarfile.BLOCKSIZE or self.header_left < 0:
                raise Invalid(FIELD, f"the archive has a header of more than {LONGEST_HEADER_BYTES} bytes.")
        if size <= len(self._piece):
            block, self._piece = bytes(self._piece[:size]), self._piece[size:]
            self._position += size
            return block
        parts = list(self.pieces(size))
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them; fewer at the end."""
        while len(self._piece) < size:
            rest = bytes(self._piece)
            if not self._fill():
                self._piece = memoryview(rest)
                break
            self._piece = memoryview(rest + bytes(self._piece)) if rest else self._piece
        return bytes(self._piece[:size])

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield at most `size` bytes in pieces of at most 1 MiB, without copying them; fewer at the end."""
        while size:
            if not len(self._piece) and not self._fill():
                return
            piece, self._piece = self._piece[:size], self._piece[size:]
            size -= len(piece)
            self._position += len(piece)
            yield piece

    def expect_end(self, most: int) -> None:
        """Read the padding after the end marker, at most `most` bytes, up to the stream's end.

        Raises:
            Invalid: There is more than padding.
        """
        left = most
        for piece in self.pieces(left):
            left -= len(piece)
            if piece != ZEROS[: len(piece)]:
                raise Invalid(FIELD, "the archive goes on after its end marker; pack it again as one archive.")
        if not left:
            raise Invalid(FIELD, f"the archive has more than {most} bytes of padding.")

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
        """Continue with the next gzip member, as gzip does; zeros after the last one are padding."""
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
