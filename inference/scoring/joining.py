"""Outputs, references and inputs, joined by id.

References are kept in memory, because people wrote them and they are few; outputs and inputs are read line by line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.records.counts import Run
from inference.records.json_lines import load_value, split_lines, without_surrogates
from inference.records.requests import decode_record
from inference.records.text_files import BYTE_ORDER_MARK, opened
from promotion.errors import Invalid

RUN_SUFFIX = ".run.json"
REFERENCE_FIELDS = (
    "highlights",
    "reference",
    "references",
    "summary",
    "target",
    "answer",
    "label",
    "category",
    "output",
)
INPUT_FIELDS = ("text_inputs", "inputs", "sequences", "sequence", "text", "article")
# A slice field with more distinct values than this is an identifier, and not a property.
MOST_SLICES = 20

log = logging.getLogger("inference")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answered text. `part` is its index in the record's list, if `listed`."""

    id: str
    part: int
    listed: bool
    text: str
    label: str | None
    error: str | None


@dataclass(slots=True)
class References:
    """References by record id, with their other fields."""

    values: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    duplicates: int = 0

    def of(self, answer: Prediction) -> tuple[str, ...] | None:
        """Return an answer's references: one for each text of a list, or alternatives for a single text."""
        value = self.values.get(answer.id)
        if answer.listed and isinstance(value, list):
            value = value[answer.part] if answer.part < len(value) else None
        if value is None:
            return None
        return tuple(str(one) for one in value) if isinstance(value, list) else (str(value),)


class _Unusable:
    """Lines that can't be used: an error if no line can be used, else a warning that names the first."""

    def __init__(self, kind: str) -> None:
        self._kind, self._count = kind, 0
        self._first: Invalid | None = None

    def add(self, error: Invalid) -> None:
        self._first, self._count = self._first or error, self._count + 1

    def report(self, *, all_of_them: bool) -> None:
        if self._first is None:
            return
        if all_of_them:
            raise self._first
        log.warning("%d %s lines can't be used; the first: %s", self._count, self._kind, self._first)


def files_under(path: Path) -> list[Path]:
    """Return `path`, or the files below it in the order of their names, without sidecars and hidden files."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Invalid(str(path), "is neither a file nor a folder.")
    found = sorted(entry for entry in path.rglob("*") if entry.is_file() and not entry.name.startswith("."))
    return [entry for entry in found if not entry.name.endswith((RUN_SUFFIX, ".manifest"))]


def key_of(record_id: Any) -> str:
    """Return an id as the key for joining: 7, 7.0 (a data frame's 7) and "7" are the same record."""
    if isinstance(record_id, float) and record_id.is_integer():
        record_id = int(record_id)
    return str(record_id)


def read_references(path: Path, name: str | None) -> References:
    """Read all references under `path` from the field `name`, else from the first known field.

    Raises:
        Invalid: no line can be used, because the field or ids are missing. If some lines can be used, the others are
            logged, and their outputs count as without a reference.
    """
    found, unusable = References(), _Unusable("reference")
    for file in files_under(path):
        for number, record in _records(file, unusable):
            place = f"{file.name} line {number}"
            if record.get("id") is None:
                unusable.add(Invalid(place, "has no id, so it can't be joined with an output."))
                continue
            key, field_name = key_of(record["id"]), name or _first(record, REFERENCE_FIELDS)
            if field_name is None:
                known = ", ".join(REFERENCE_FIELDS)
                unusable.add(Invalid(place, f"has none of {known}; name the field by --reference-field."))
            elif record.get(field_name) is None:
                unusable.add(Invalid(place, f"has no field {field_name} for the reference."))
            elif key in found.values:
                found.duplicates += 1
            else:
                found.values[key] = record[field_name]
                _keep_fields(found.fields, key, record, {"id", field_name})
    unusable.report(all_of_them=not found.values)
    return found


def read_input_fields(path: Path, wanted: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the inputs' other text fields, by id, for the ids in `wanted`."""
    fields: dict[str, dict[str, str]] = {}
    for file in files_under(path):
        for _, record in _records(file):
            key = key_of(record.get("id"))
            if key in wanted:
                _keep_fields(fields, key, record, {"id", *INPUT_FIELDS})
    return fields


def input_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each input's id and text, for drift and samples; lines that can't be read are skipped."""
    for file in files_under(path):
        for _, record in _records(file):
            value = next((record[name] for name in INPUT_FIELDS if record.get(name)), None)
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    yield key_of(record.get("id")), text


def predictions(path: Path, runs: list[Run], *, need_id: bool = True) -> Iterator[list[Prediction]]:
    """Yield each output line's answers; the counts of its worker are added to `runs`.

    Raises:
        Invalid: no line can be joined, because none has an id or is an answer. If some can, each other line is an
            error.
    """
    unusable, joined = _Unusable("output"), False
    for file in files_under(path):
        sidecar = file.with_name(file.name + RUN_SUFFIX)
        if sidecar.exists():
            _add_run(runs, sidecar.read_bytes(), sidecar.name)
        for number, line in _lines(file):
            try:
                yield _answers(line, f"{file.name} line {number}", runs, need_id)
                joined = True
            except Invalid as error:
                unusable.add(error)
                yield [Prediction(key_of(None), 0, False, "", None, str(error))]
    unusable.report(all_of_them=not joined)


def _answers(line: bytes, place: str, runs: list[Run], need_id: bool) -> list[Prediction]:
    try:
        value = load_value(line)
    except ValueError:
        raise Invalid(place, "is not JSON, so it is no output of this service.") from None
    parts = value if isinstance(value, list) else [value]
    listed = isinstance(value, list)
    return [_prediction(part, index, place, runs, need_id, listed) for index, part in enumerate(parts)]


def _prediction(value: Any, part: int, place: str, runs: list[Run], need_id: bool, listed: bool) -> Prediction:
    if isinstance(value, dict) and isinstance(value.get("SageMakerOutput"), dict):
        # If the job joined input and output, the answer is under its own key.
        value = {**value, **value["SageMakerOutput"]}
    if not isinstance(value, dict):
        raise Invalid(place, "is not an object.")
    if "run" in value:
        _add_run(runs, value["run"], place)
    error = value.get("error")
    if need_id and value.get("id") is None and not error:
        raise Invalid(place, "has no id, so it can't be joined with a reference.")
    texts, labels = value.get("generated_texts"), value.get("labels")
    if not error and not texts and not labels:
        raise Invalid(place, "has neither generated_texts nor labels.")
    text, label = (str(each[0] if isinstance(each, list) else each) if each else None for each in (texts, labels))
    return Prediction(key_of(value.get("id")), part, listed, text or "", label, error)


def _add_run(runs: list[Run], told: Any, place: str) -> None:
    """Add a worker's counts; other values are ignored, because other containers may use the field differently."""
    try:
        runs.append(Run.of_json(load_value(told) if isinstance(told, bytes) else told))
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        log.warning("%s: what its worker counted can't be read.", place)


def _records(file: Path, unusable: _Unusable | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number and record; unreadable lines are skipped and added to `unusable`."""
    for number, line in _lines(file):
        try:
            yield number, without_surrogates(decode_record(line), line)
        except Invalid as error:
            if unusable is not None:
                unusable.add(Invalid(f"{file.name} line {number}", error.reason))


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line and its number, without empty ones."""
    with opened(file) as stream:
        for number, raw in enumerate(stream, start=1):
            line = split_lines(raw)[0].removeprefix(BYTE_ORDER_MARK)
            if line.strip():
                yield number, line


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if record.get(name) is not None), None)


def _keep_fields(fields: dict[str, dict[str, str]], key: str, record: Mapping[str, Any], without: set[str]) -> None:
    for name, value in record.items():
        if name not in without and isinstance(value, str) and len(value) <= 100:
            fields.setdefault(name, {})[key] = value
