"""Unpack an artifact from an untrusted source.

The bytes were approved, but what is in an archive is still only files: no path outside the folder, no symbolic links, no devices,
and no more than fits. The reader is the one that hashed it at registration (promotion/client/archive.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from inference.errors import ModelRefused
from promotion.client.archive import LARGEST_UNPACKED_BYTES, read_archive
from promotion.errors import Invalid


def extract(archive: Path, folder: Path, *, largest: int = LARGEST_UNPACKED_BYTES) -> None:
    """Unpack `archive` into the new folder `folder`; on any doubt nothing is left there.

    Raises:
        ModelRefused: not an archive, damaged, or with members that have no business in a model.
    """
    folder.mkdir(parents=True)
    try:
        _extract(archive, folder, largest)
    except Invalid as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelRefused(f"The model can't be unpacked: {error.reason}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _extract(archive: Path, folder: Path, largest: int) -> None:
    with archive.open("rb") as stream:
        for member, content in read_archive(stream, size=archive.stat().st_size, largest=largest):
            target = folder / member.path
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.kind == "link":
                # As a file of its own: a change of one must not change the other.
                shutil.copyfile(folder / member.target, target)
            else:
                with target.open("wb") as sink:
                    for chunk in content:
                        sink.write(chunk)
            # Neither its owner nor its mode: nothing in a model is to be executed.
            target.chmod(0o644)
