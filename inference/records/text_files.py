"""Files of lines: plain or gzip, with or without a byte order mark."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from promotion.errors import Invalid

# Editors and shells on Windows write it before the first line; RFC 8259 lets a reader ignore it.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for reading bytes; gzip is detected by content, and unpacked.

    Raises:
        Invalid: the gzip file is damaged or truncated; raised when the read reaches that place.
    """
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        if not packed:
            yield stream
            return
        try:
            with gzip.open(stream, "rb") as unpacked:
                yield unpacked  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Invalid(path.name, f"is a damaged gzip file: {error}") from None
