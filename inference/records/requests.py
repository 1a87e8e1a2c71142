"""An input record, parsed once into texts and settings.

Both common forms are accepted: parameters beside the text, and parameters under `parameters`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inference.errors import RecordInvalid
from inference.records.neutral import off
from inference.records.parameters import (
    GENERATION,
    ZERO_SHOT,
    Generation,
    Labels,
    looks_like_parameter,
    named,
    unknown,
)
from inference.records.text_files import BYTE_ORDER_MARK
from promotion.errors import Invalid

if TYPE_CHECKING:
    from inference.decoders.settings import Decoding

Id = str | int | float
# Fields that are ignored, whatever their values.
_DATA = frozenset({"id", "metadata"})


@dataclass(slots=True, eq=False)
class CancelToken:
    """Cancel token of a client: set on any thread, and read between steps."""

    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A parsed record; `many` is True if it had a list of texts, and then the answer is a list, too.

    `prepared` has the texts in a form that the task already computed when it checked them.
    """

    id: Id | None
    texts: tuple[str, ...]
    many: bool
    settings: Generation | Labels | Decoding
    ignored_parameters: int = 0
    prepared: tuple[Any, ...] = ()
    stream: bool = False
    chat: bool = False
    cancel_token: CancelToken = field(default_factory=CancelToken, compare=False)


def decode_record(line: bytes) -> dict[str, Any]:
    """Parse the object on a line.

    Raises:
        RecordInvalid: the line is empty, not UTF-8, not JSON or not an object, or its id is neither text nor number.
    """
    if not line.removeprefix(BYTE_ORDER_MARK).strip():
        raise RecordInvalid("", "the line is empty.")
    try:
        text = line.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise RecordInvalid("", f"the line is not UTF-8: byte {error.start} is 0x{line[error.start]:02x}.") from None
    try:
        value = json.loads(text)
    except RecursionError:
        raise RecordInvalid("", "the line is nested too deeply.") from None
    except ValueError as error:
        at = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise RecordInvalid("", f"the line is not JSON{at}.") from None
    return checked_record(value)


def checked_record(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object, without an id or with a valid one; else raise RecordInvalid."""
    if not isinstance(value, dict):
        raise RecordInvalid("", f"a record must be an object, not {type(value).__name__}.")
    identity = value.get("id")
    usable = identity is None or (isinstance(identity, (str, int, float)) and not isinstance(identity, bool))
    if not usable or (isinstance(identity, float) and not math.isfinite(identity)):
        raise RecordInvalid("id", "must be a text or a number.")
    return value


def generation_request(
    record: Mapping[str, Any], job: Mapping[str, Any] | None, defaults: Generation
) -> InferenceRequest:
    """Read a record of a text task. With job parameters, its own parameters are ignored and counted.

    Raises:
        RecordInvalid: there is no text or an empty one, or a parameter is unknown or wrong; names the record.
    """
    identity = record.get("id")
    try:
        name, texts, many = texts_of(record, ("text_inputs", "inputs"))
        own = parameters_of(record, name, tuple(GENERATION))
        if job is not None:
            return InferenceRequest(identity, texts, many, defaults.updated(job), len(own))
        return InferenceRequest(identity, texts, many, defaults.updated(own))
    except Invalid as error:
        raise named(error, identity) from None


def zero_shot_request(record: Mapping[str, Any], job: Mapping[str, Any] | None) -> InferenceRequest:
    """Read a record of classification. Its labels are data, and are used unless the job sets labels.

    Raises:
        RecordInvalid: there is no text or an empty one, there are no labels, or a parameter is unknown or wrong; names
            the record.
    """
    identity = record.get("id")
    try:
        name, texts, many = texts_of(record, ("sequences", "inputs", "text_inputs"))
        own = parameters_of(record, name, ZERO_SHOT)
        if job is None:
            return InferenceRequest(identity, texts, many, Labels.of(own))
        used = dict(job)
        if used.get("candidate_labels") is None and "candidate_labels" in own:
            used["candidate_labels"] = own.pop("candidate_labels")
        return InferenceRequest(identity, texts, many, Labels.of(used), len(own))
    except Invalid as error:
        raise named(error, identity) from None


def texts_of(record: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool]:
    """Return the name of the input field, its texts, and whether a list was sent."""
    name = next((name for name in names if record.get(name) is not None), None)
    if name is None:
        raise Invalid(names[0], "is missing: a record needs its text there.")
    value = record[name]
    if isinstance(value, str):
        texts, many = (value,), False
    elif isinstance(value, list) and value:
        texts, many = tuple(value), True
    else:
        raise Invalid(name, "must be a text, or a list of at least one.")
    for text in texts:
        if not isinstance(text, str):
            raise Invalid(name, f"must hold texts, not {type(text).__name__}.")
        if not text.strip():
            raise Invalid(name, "is empty.")
    return name, texts, many


def parameters_of(record: Mapping[str, Any], text_field: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Return a record's parameters, in either form.

    Raises:
        Invalid: a field can only be a mistyped parameter.
    """
    nested = record.get("parameters")
    if nested is not None and not isinstance(nested, dict):
        raise Invalid("parameters", "must be an object of parameters by name.")
    found = {name: value for name, value in (nested or {}).items() if value is not None}
    for name in list(found):
        if name not in known and not off(name, found.pop(name)):
            raise unknown(name, known)
    for name, value in record.items():
        if name in known and value is not None:
            found[name] = value
        elif name in _DATA or name in (text_field, "parameters") or off(name, value):
            continue
        elif looks_like_parameter(name, value, known):
            raise unknown(name, known)
    return found
