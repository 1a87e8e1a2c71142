"""Unpacking an artifact that somebody else packed.

The bytes were approved, but what is in an archive is still only files: no path outside the folder, no links, no devices,
and no more than fits.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from inference.errors import ModelRefused
from promotion.artifact import MOST_MEMBERS

# Room for the largest models that one machine loads; a bomb is far beyond it.
LARGEST_UNPACKED_BYTES = 1 << 40


def extract(archive: Path, folder: Path, *, largest: int = LARGEST_UNPACKED_BYTES) -> None:
    """Unpack `archive` into the new folder `folder`; on any doubt nothing is left there.

    Raises:
        ModelRefused: not an archive, damaged, or with members that have no business in a model.
    """
    folder.mkdir(parents=True)
    try:
        _extract(archive, folder, largest)
    except (tarfile.TarError, EOFError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelRefused(f"The archive is damaged and can't be unpacked: {error}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _extract(archive: Path, folder: Path, largest: int) -> None:
    unpacked = 0
    # Plain `r:*` would seek; a stream is read once, in order, like the hash before it.
    with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
        for count, member in enumerate(tar):
            if count >= MOST_MEMBERS:
                raise ModelRefused(f"The archive has more than {MOST_MEMBERS} members.")
            target = folder / _inside(member.name)
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


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ModelRefused(f"{name!r} in the archive points outside of it.")
    return path
