"""JSON files of a model's folder, which may hold anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inference.errors import ModelBroken


def read_json(path: Path) -> Any:
    """Return what a file holds.

    Raises:
        ModelBroken: the file is missing, can't be read, or is no JSON; names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelBroken(f"{path.name} can't be read: {str(error)[:200]}") from None


def read_fields(path: Path) -> dict[str, Any]:
    """Return the object in a file; empty if there is no file, or no object in it.

    Raises:
        ModelBroken: the file can't be read, or is no JSON; names the file.
    """
    found = read_json(path) if path.exists() else None
    return found if isinstance(found, dict) else {}
