"""Unpack an artifact from an untrusted source.

Even an approved archive may contain only files: no paths outside the folder, no symbolic links, no devices, and no more
than fits on the disk. The reader is the one that hashed it at registration (promotion/client/archive.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from inference.errors import ModelRefused
from promotion.client.archive import LARGEST_UNPACKED_BYTES, read_archive
from promotion.errors import Invalid


def extract(archive: Path, folder: Path, *, largest: int = LARGEST_UNPACKED_BYTES) -> None:
    """Unpack `archive` into the new folder `folder`; after an error nothing is left there.

    Raises:
        ModelRefused: it is no archive, is damaged, or contains members that are not allowed.
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
                # A hard link becomes a separate file, so that a change of one doesn't change the other.
                shutil.copyfile(folder / member.target, target)
            else:
                with target.open("wb") as sink:
                    for chunk in content:
                        sink.write(chunk)
            # Owner and mode are not restored, because no file of a model is executed.
            target.chmod(0o644)
