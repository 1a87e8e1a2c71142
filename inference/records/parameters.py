"""The parameters of a request: their names, types, ranges and sources.

A job's parameters are in the environment variable HYPER_PARAMS, which existing notebooks fill with `str(dict)`, a
Python literal. It is parsed as JSON or as a literal, and never evaluated.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from inference.errors import HyperParametersInvalid, RecordInvalid
from inference.records.foreign import FOREIGN
from inference.records.neutral import OFF, settled
from promotion.errors import Invalid

HYPER_PARAMS = "HYPER_PARAMS"
# SageMaker's own limit on the value of an environment variable of a transform job.
LONGEST_HYPER_PARAMS = 10_240
MOST_LABELS = 1_000
DEFAULT_TEMPLATE = "This example is {}."


@dataclass(frozen=True, slots=True)
class Number:
    """A number's range; `above` excludes the lower end."""

    low: float
    high: float
    whole: bool = True
    above: bool = False

    def check(self, name: str, value: Any) -> int | float:
        kind = "a whole number" if self.whole else "a number"
        # In Python a bool is an int, and data frames convert 4 to 4.0.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Invalid(name, f"must be {kind}, not {_shown(value)}.")
        if isinstance(value, float) and (not math.isfinite(value) or (self.whole and not value.is_integer())):
            raise Invalid(name, f"must be {kind}, not {value}.")
        if not self.low <= value <= self.high or (self.above and value == self.low):
            least = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
            raise Invalid(name, f"must be {least} and at most {self.high:g}, not {_shown(value)}.")
        return int(value) if self.whole else float(value)


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false, or one of `words`."""

    words: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> bool | str:
        if isinstance(value, bool) or (isinstance(value, str) and value in self.words):
            return value
        words = "".join(f" or {word!r}" for word in self.words)
        raise Invalid(name, f"must be true or false{words}, not {_shown(value)}.")


@dataclass(frozen=True, slots=True)
class Text:
    """A short text."""

    def check(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise Invalid(name, f"must be a text that is not empty, not {_shown(value)}.")
        return value


GENERATION: Mapping[str, Number | Switch | Text] = {
    "max_length": Number(1, 100_000),
    "max_new_tokens": Number(1, 100_000),
    "num_return_sequences": Number(1, 100),
    "num_beams": Number(1, 100),
    "no_repeat_ngram_size": Number(0, 1_000),
    "temperature": Number(0, 100, whole=False, above=True),
    "early_stopping": Switch(("never",)),
    "do_sample": Switch(),
    "top_k": Number(0, 1_000_000),
    "top_p": Number(0, 1, whole=False, above=True),
    "seed": Number(0, 2**63 - 1),
    # Accepted and checked because existing clients send it, but without effect: batches are formed by token budget.
    "batch_size": Number(1, 100_000),
    # Languages of translation models, named as in transformers.
    "src_lang": Text(),
    "tgt_lang": Text(),
    "forced_bos_token_id": Number(0, 10_000_000),
}
SAMPLING = ("temperature", "top_k", "top_p")
ZERO_SHOT = ("candidate_labels", "hypothesis_template", "multi_label", "batch_size")
_OF_REQUESTS = ("seed", "src_lang", "tgt_lang", "forced_bos_token_id")


@dataclass(frozen=True, slots=True)
class Generation:
    """Generation settings of one text; rows with equal settings, apart from the seed, can share a batch."""

    max_length: int | None = None
    max_new_tokens: int | None = None
    num_return_sequences: int = 1
    num_beams: int = 1
    no_repeat_ngram_size: int = 0
    temperature: float = 1.0
    early_stopping: bool | str = False
    do_sample: bool = False
    top_k: int = 50
    top_p: float = 1.0
    seed: int | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    # Only if the request sets it; the model's own default is in its generation configuration.
    forced_bos_token_id: int | None = None

    def with_first(self, token: int) -> Generation:
        """Return these settings for answers that begin with `token`."""
        return replace(self, forced_bos_token_id=token)

    def updated(self, parameters: Mapping[str, Any]) -> Generation:
        """Return these settings updated with `parameters`.

        Raises:
            Invalid: a parameter is unknown, of the wrong type, out of range, or contradicts another.
        """
        checked: dict[str, Any] = {
            name: _known(name).check(name, value) for name, value in settled(parameters).items() if value is not None
        }
        checked.pop("batch_size", None)
        if "max_length" in checked and "max_new_tokens" not in checked:
            # A length in the request replaces lengths of every kind in the model's defaults.
            checked["max_new_tokens"] = None
        settings = replace(self, **checked)
        wanted = settings.num_return_sequences
        drawn = settings.do_sample and settings.num_beams == 1
        if 1 < wanted > settings.num_beams and not drawn:
            raise Invalid("num_return_sequences", f"{wanted} texts need num_beams of at least {wanted}, or do_sample.")
        return settings

    @classmethod
    def of_model(cls, config: Any) -> Generation:
        """Return the defaults in a model's own generation_config."""
        names = [field.name for field in fields(cls) if field.name not in _OF_REQUESTS]
        found = {name: getattr(config, name, None) for name in names}
        return cls().updated(usable({name: value for name, value in found.items() if value is not None}))


def usable(defaults: dict[str, Any]) -> dict[str, Any]:
    """Return a model's `defaults`, without invalid sampling settings if it doesn't sample and never reads them."""
    if defaults.get("do_sample"):
        return defaults
    return {name: value for name, value in defaults.items() if name not in SAMPLING or _in_range(name, value)}


def _in_range(name: str, value: Any) -> bool:
    try:
        GENERATION[name].check(name, value)
    except Invalid:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Labels:
    """Candidate labels of one text for zero-shot classification."""

    candidate_labels: tuple[str, ...]
    hypothesis_template: str = DEFAULT_TEMPLATE
    multi_label: bool = False

    @property
    def hypotheses(self) -> tuple[str, ...]:
        # Not str.format, because an untrusted template could read the label's attributes.
        return tuple(self.hypothesis_template.replace("{}", label) for label in self.candidate_labels)

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Labels:
        """Check labels and make settings of them.

        Raises:
            Invalid: there are no labels or too many, one is not text, or the template has no {}.
        """
        for name in parameters:
            if name not in ZERO_SHOT:
                raise Invalid(name, f"is no parameter of zero-shot classification; there are {', '.join(ZERO_SHOT)}.")
        labels = parameters.get("candidate_labels")
        if isinstance(labels, str):
            labels = [label.strip() for label in labels.split(",") if label.strip()]
        if not isinstance(labels, (list, tuple)) or not labels:
            raise Invalid("candidate_labels", "must be a list of at least one label.")
        if len(labels) > MOST_LABELS:
            raise Invalid("candidate_labels", f"has {len(labels)} labels; at most {MOST_LABELS} are taken.")
        for label in labels:
            if not isinstance(label, str) or not label.strip():
                raise Invalid("candidate_labels", f"must be texts that are not empty; {_shown(label)} is not one.")
        template = parameters.get("hypothesis_template")
        template = DEFAULT_TEMPLATE if template is None else template
        if not isinstance(template, str) or "{}" not in template:
            raise Invalid("hypothesis_template", "must be a text with {} where the label goes.")
        multi = parameters.get("multi_label")
        multi = Switch().check("multi_label", False if multi is None else multi)
        if parameters.get("batch_size") is not None:
            GENERATION["batch_size"].check("batch_size", parameters["batch_size"])
        return cls(tuple(labels), template, bool(multi))


def hyper_parameters(text: str | None) -> dict[str, Any] | None:
    """Return the job's parameters; None if there are none and each record's own apply.

    Raises:
        HyperParametersInvalid: neither JSON nor a Python literal, not a dict, or too long.
    """
    text = (text or "").strip()
    if text in ("", "None", "null"):
        return None
    if len(text) > LONGEST_HYPER_PARAMS:
        raise HyperParametersInvalid(HYPER_PARAMS, f"is longer than {LONGEST_HYPER_PARAMS} characters.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise HyperParametersInvalid(HYPER_PARAMS, "is neither JSON nor a Python literal.") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise HyperParametersInvalid(HYPER_PARAMS, "must be an object of parameters by name.")
    return value


def looks_like_parameter(name: str, value: Any, known: tuple[str, ...]) -> bool:
    """Return True if a record's unknown field looks like a mistyped parameter and not like data.

    Data fields (for slices of the metrics) are texts; parameters are numbers, booleans or lists.
    """
    return (
        not isinstance(value, str)
        or name in FOREIGN
        or name in OFF
        or name in GENERATION
        or name in ZERO_SHOT
        or bool(difflib.get_close_matches(name, known, n=1, cutoff=0.85))
    )


def unknown(name: str, known: tuple[str, ...]) -> Invalid:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}."
    return Invalid(name, f"is not a parameter of this task{hint}")


def named(error: Invalid, record_id: str | int | float | None) -> RecordInvalid:
    """Return `error` with the id of its record."""
    return RecordInvalid(error.field, error.reason, record_id)


def _known(name: str) -> Number | Switch | Text:
    if name not in GENERATION:
        raise unknown(name, tuple(GENERATION))
    return GENERATION[name]


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
