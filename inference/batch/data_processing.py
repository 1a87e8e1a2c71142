"""SageMaker's DataProcessing of a batch transform job: its subset of JSONPath, and the join of input and output.

https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from promotion.errors import Invalid

_STEP = re.compile(
    r"""
    \.(?P<name>[A-Za-z_][\w-]*)
    | (?P<any>\.\*|\[\*\])
    | \[\s*(?P<names>'[^']*'(?:\s*,\s*'[^']*')*|"[^"]*"(?:\s*,\s*"[^"]*")*)\s*\]
    | \[\s*(?P<slice>-?\d*\s*:\s*-?\d*)\s*\]
    | \[\s*(?P<indices>-?\d+(?:\s*,\s*-?\d+)*)\s*\]
    """,
    re.VERBOSE,
)


class NothingFound(LookupError):  # a condition of one record, not of the program
    """The path selects nothing in this record."""


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed JSONPath: `$`, names, lists of names, indices, slices and `*`."""

    text: str
    steps: tuple[Callable[[Any], Any], ...]

    @classmethod
    def parse(cls, field: str, text: str) -> Path:
        """Parse a JSONPath; raise Invalid if SageMaker would refuse it."""
        if not text.startswith("$"):
            raise Invalid(field, f"{text!r} must begin with $.")
        steps, at = [], 1
        while at < len(text):
            match = _STEP.match(text, at)
            if match is None:
                raise Invalid(field, f"{text!r} can't be read at character {at}: {text[at : at + 20]!r}.")
            steps.append(_step(match))
            at = match.end()
        return cls(text, tuple(steps))

    @property
    def whole(self) -> bool:
        """True if the path selects the whole value."""
        return not self.steps

    def of(self, value: Any) -> Any:
        """Return what the path selects in `value`.

        Raises:
            NothingFound: the path selects nothing.
        """
        for step in self.steps:
            try:
                value = step(value)
            except (LookupError, TypeError):
                raise NothingFound(f"{self.text} finds nothing in this record.") from None
        return value


def join(given: Any, output: Any) -> Any:
    """Join input and output of one record in one object, as SageMaker joins JSON Lines."""
    if isinstance(given, dict):
        return {**given, "SageMakerOutput": output}
    return {"SageMakerInput": given, "SageMakerOutput": output}


def _step(match: re.Match[str]) -> Callable[[Any], Any]:
    if match["name"]:
        return lambda value, name=match["name"]: _member(value, name)  # type: ignore[misc]
    if match["any"]:
        return lambda value: list(value.values()) if isinstance(value, dict) else list(value)
    if match["names"]:
        names = [name[1:-1] for name in re.findall(r"'[^']*'|\"[^\"]*\"", match["names"])]
        if len(names) == 1:
            return lambda value: _member(value, names[0])
        return lambda value: _members(value, names)
    if match["slice"]:
        low, high = (int(part) if part.strip() else None for part in match["slice"].split(":"))
        return lambda value: _sequence(value)[low:high]
    indices = [int(part) for part in match["indices"].split(",")]
    if len(indices) == 1:
        return lambda value: _sequence(value)[indices[0]]
    return lambda value: [_sequence(value)[index] for index in indices]


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise TypeError
    return value[name]


def _members(value: Any, names: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    found = {name: value[name] for name in names if name in value}
    if not found:
        raise KeyError
    return found


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value
