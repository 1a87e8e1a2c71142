"""Reading of the JSON documents for a score: approval, gates, metrics of the live version, baseline."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.records.json_lines import load_value
from promotion.errors import Invalid
from promotion.names import BASELINE_PROBLEM, CONSTRAINTS_PROBLEM


def read_document(path: Path | None) -> Any:
    """Read a JSON file; None if no path is given.

    Raises:
        Invalid: the file is missing, or is not JSON.
    """
    if path is None:
        return None
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Invalid(str(path), "does not exist.") from None
    except ValueError:
        raise Invalid(str(path), "is not JSON.") from None


def read_baseline(path: Path | None) -> dict[str, Any] | None:
    """Read a baseline, with the constraints.json that SageMaker writes beside its statistics.json.

    Returns:
        The baseline; for an unreadable file the reason, with which drift or constraints are reported as not measured.
        None if no path is given.

    Raises:
        Invalid: there is no such file.
    """
    if path is None:
        return None
    found = _object(path, BASELINE_PROBLEM)
    constraints = beside(path, "constraints.json")
    if constraints is None:
        return found
    read = _object(constraints, CONSTRAINTS_PROBLEM)
    return {**found, **(read if CONSTRAINTS_PROBLEM in read else {"constraints": read})}


def _object(path: Path, problem: str) -> dict[str, Any]:
    """Return the object in a JSON file; if there is none, an object with the reason under `problem`."""
    try:
        found = load_value(path.read_bytes())
    except FileNotFoundError:
        raise Invalid(str(path), "does not exist.") from None
    except ValueError:
        return {problem: f"{path.name} is not JSON."}
    return found if isinstance(found, dict) else {problem: f"{path.name} holds no JSON object."}


def beside(path: Path | None, name: str) -> Path | None:
    """Return the file `name` beside `path` if it exists; a baseline may be in the approval's folder."""
    return path.with_name(name) if path and path.with_name(name).exists() else None


def gates_of(document: Any) -> list[dict[str, Any]]:
    """Return gates in the form of promotion.toml, from a list or from an object's `gates`."""
    if isinstance(document, dict):
        document = document.get("gates", [])
    if document is None:
        return []
    if not isinstance(document, list) or not all(isinstance(gate, dict) for gate in document):
        raise Invalid("gates", "must be a list of objects with metric and min or max.")
    return document


def plain_metrics(document: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the numbers of a metrics document of this project, or of a flat one."""
    metrics = document.get("metrics", document) if document else {}
    found = {name: value.get("value") if isinstance(value, dict) else value for name, value in metrics.items()}
    numbers = {name: value for name, value in found.items() if isinstance(value, (int, float))}
    return {name: float(value) for name, value in numbers.items() if abs(value) <= sys.float_info.max}
