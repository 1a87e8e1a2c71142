"""Unpacking an artifact that somebody else packed.

The bytes were approved, but what is in an archive is still only files: no path outside the folder, no links, no devices,
and no more than fits.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from inference.errors import ModelRefused
from promotion.client.artifact import MOST_MEMBERS

# Room for the largest models that one machine loads; a bomb is far beyond it.
LARGEST_UNPACKED_BYTES = 1 << 40
# Weights hardly shrink. What unpacks to so many times its size, and to more than any tokenizer, is there to fill the disk.
_MOST_TIMES, _ALWAYS_ALLOWED_BYTES = 50, 1 << 30
# A name or a comment; tarfile reads it into memory whole, whatever length it claims.
_LONGEST_HEADER_BYTES = 1 << 20
_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class _Member(tarfile.TarInfo):
    """A member whose headers are of a sensible length."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Any:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _HEADERS and found.size > _LONGEST_HEADER_BYTES:
            raise ModelRefused(f"The archive has a header of {found.size} bytes, which no model needs.")
        return found


def extract(archive: Path, folder: Path, *, largest: int = LARGEST_UNPACKED_BYTES) -> None:
    """Unpack `archive` into the new folder `folder`; on any doubt nothing is left there.

    Raises:
        ModelRefused: not an archive, damaged, or with members that have no business in a model.
    """
    folder.mkdir(parents=True)
    try:
        _extract(archive, folder, largest)
    except (tarfile.TarError, EOFError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        # The last three: one member is a file where another needs a folder.
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelRefused(f"The archive is damaged and can't be unpacked: {error}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _extract(archive: Path, folder: Path, largest: int) -> None:
    unpacked = 0
    largest = min(largest, max(_ALWAYS_ALLOWED_BYTES, _MOST_TIMES * archive.stat().st_size))
    # Plain `r:*` would seek; a stream is read once, in order, like the hash before it.
    with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Member) as tar:
        for count, member in enumerate(tar):
            if count >= MOST_MEMBERS:
                raise ModelRefused(f"The archive has more than {MOST_MEMBERS} members.")
            target = folder / inside(member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            if not member.isreg():
                raise ModelRefused(f"{member.name} in the archive is a link or a device, which no model needs.")
            unpacked += member.size
            if unpacked > largest:
                raise ModelRefused(f"The archive unpacks to more than {largest} bytes.")
            source = tar.extractfile(member)
            assert source is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            # Neither its owner nor its mode: nothing in a model is to be executed.
            target.chmod(0o644)


def inside(name: str) -> PurePosixPath:
    """`name` as a path below a folder.

    Raises:
        ModelRefused: it leads out of it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ModelRefused(f"{name!r} in the archive points outside of it.")
    return path
