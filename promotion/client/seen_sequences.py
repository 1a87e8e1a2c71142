"""A small file of the highest sequence seen of each live record, by which a pipeline refuses an older one that was put back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from promotion.errors import Invalid


def seen(path: str | os.PathLike[str], parameter: str) -> int:
    """Return the highest sequence seen of a parameter's record; 0 if there is none yet.

    Raises:
        Invalid: The file is there, but isn't one of these.
    """
    return _read(Path(path)).get(parameter, 0)


def remember(path: str | os.PathLike[str], parameter: str, sequence: int) -> None:
    """Keep a sequence if it is the highest seen; the file is replaced whole, or stays as it is.

    Raises:
        Invalid: The file is there, but isn't one of these.
        OSError: It can't be written.
    """
    place = Path(path)
    known = _read(place)
    if known.get(parameter, 0) >= sequence:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=place.name, dir=place.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(known | {parameter: sequence}, file, indent=1, sort_keys=True)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read(place: Path) -> dict[str, int]:
    try:
        found = json.loads(place.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(type(number) is int for number in found.values()):
        # The file is not replaced, because otherwise damaging it would make an older record acceptable.
        raise Invalid("remember", f"{place} is no file of seen sequences; delete it to begin anew.")
    return found
