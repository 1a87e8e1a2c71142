"""Generation parameters and limits of decoders: names, ranges, defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from inference.errors import TooLong
from inference.records.neutral import settled
from inference.records.parameters import GENERATION, SAMPLING, Number, Switch, Text, unknown, usable
from promotion.errors import Invalid

DEFAULT_NEW_TOKENS = 100  # TGI's default
MOST_STOPS = 16
LONGEST_STOP = 1_000
# A model may support more; set MAX_TOTAL_TOKENS for that, since it determines the reserved memory.
DEFAULT_TOTAL_TOKENS = 4_096
CPU_BATCH_TOKENS, CUDA_BATCH_TOKENS = 16_384, 131_072
PREFILL_TOKENS = 4_096

INPUT_LENGTH, TOTAL_TOKENS, BATCH_TOKENS = "MAX_INPUT_LENGTH", "MAX_TOTAL_TOKENS", "MAX_BATCH_TOTAL_TOKENS"
BATCH_PREFILL_TOKENS = "MAX_BATCH_PREFILL_TOKENS"

_CHECKED: Mapping[str, Number | Switch | Text] = {
    "max_new_tokens": Number(1, 100_000),
    "do_sample": Switch(),
    "temperature": Number(0, 100, whole=False, above=True),
    "top_k": Number(0, 1_000_000),
    "top_p": Number(0, 1, whole=False, above=True),
    "repetition_penalty": Number(0, 100, whole=False, above=True),
    "seed": GENERATION["seed"],
    "truncate": Number(1, 1_000_000),
    "return_full_text": Switch(),
    "details": Switch(),
    "decoder_input_details": Switch(),
    # transformers' and JumpStart's names: the length with the prompt, and how many texts a prompt gets.
    "max_length": Number(1, 100_000),
    "num_return_sequences": Number(1, 16),
    # Accepted and checked because existing clients send it, but without effect: batches are formed by token budget.
    "batch_size": GENERATION["batch_size"],
}
# `stop_sequences` is LMI's name for TGI's `stop`.
NAMES = (*_CHECKED, "stop", "stop_sequences")
# A request with one of these is sampled, even without do_sample, as in TGI and LMI.
_SAMPLES = SAMPLING
# Unless it says that all tokens may be drawn, which asks for nothing.
_OPEN: Mapping[str, float] = {"top_k": 0, "top_p": 1.0}
# The settings of a model's own generation_config that are used.
_OF_MODEL = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens")


@dataclass(frozen=True, slots=True)
class Decoding:
    """Generation settings of one request; sequences of one step can differ in all of them."""

    max_new_tokens: int | None = None
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    truncate: int | None = None
    return_full_text: bool = False
    details: bool = False
    # A model's own default lengths: maxima, and never beyond the limits.
    default_new_tokens: int | None = None
    default_length: int | None = None
    decoder_input_details: bool = False
    max_length: int | None = None
    num_return_sequences: int = 1

    def updated(self, parameters: Mapping[str, Any]) -> Decoding:
        """Return these settings, overridden by `parameters`.

        Raises:
            Invalid: a parameter is unknown, of the wrong type or out of range.
        """
        given = settled({name: value for name, value in parameters.items() if value is not None})
        checked: dict[str, Any] = {}
        for name, value in given.items():
            if name in ("stop", "stop_sequences"):
                checked["stop"] = _stops(name, value)
            elif name in _CHECKED:
                checked[name] = _CHECKED[name].check(name, value)
            else:
                raise unknown(name, NAMES)
        checked.pop("batch_size", None)
        if "do_sample" not in checked and any(
            name in checked and checked[name] != _OPEN.get(name) for name in _SAMPLES
        ):
            checked["do_sample"] = True
        settings = replace(self, **checked)
        if settings.num_return_sequences > 1 and not settings.do_sample:
            raise Invalid(
                "num_return_sequences", "several texts of one prompt need do_sample or a temperature above 0."
            )
        return settings

    def within(self, length: int) -> Decoding:
        """Return these settings for a prompt of `length` tokens, with `max_length` converted to `max_new_tokens`."""
        if self.max_length is None:
            return self
        new = max(1, self.max_length - length)
        return replace(self, max_new_tokens=min(new, self.max_new_tokens or new), max_length=None)

    @classmethod
    def of_model(cls, config: Any) -> Decoding:
        """Return the defaults from a model's own generation_config."""
        found = {name: getattr(config, name, None) for name in _OF_MODEL}
        known = {field.name for field in fields(cls)}
        # Set to False if the model doesn't set it, so that a default temperature alone doesn't cause sampling.
        found["do_sample"] = bool(found["do_sample"])
        named = cls(
            default_new_tokens=found.pop("max_new_tokens", None), default_length=getattr(config, "max_length", None)
        )
        return named.updated(
            usable({name: value for name, value in found.items() if value is not None and name in known})
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Token limits of one request, of one step's prefill, and of all requests in progress."""

    input_length: int
    total_tokens: int
    batch_total_tokens: int
    prefill_tokens: int = PREFILL_TOKENS

    @classmethod
    def of(cls, environment: Mapping[str, str], *, reach: int, on_cuda: bool) -> Limits:
        """Read the limits by TGI's names. `reach` is the model's maximum number of positions.

        Raises:
            Invalid: a limit is not a number, exceeds the model's, or contradicts another limit.
        """
        total = number(environment, TOTAL_TOKENS) or min(reach, DEFAULT_TOTAL_TOKENS)
        if not 2 <= total <= reach:
            raise Invalid(TOTAL_TOKENS, f"is {total}, and this model reaches from 2 to {reach} tokens.")
        taken = number(environment, INPUT_LENGTH) or number(environment, "MAX_INPUT_TOKENS") or total - 1
        if not 1 <= taken < total:
            raise Invalid(INPUT_LENGTH, f"is {taken}; it must be below {TOTAL_TOKENS}, which is {total}.")
        least = max(total, CUDA_BATCH_TOKENS if on_cuda else CPU_BATCH_TOKENS)
        batch = number(environment, BATCH_TOKENS) or least
        if batch < total:
            raise Invalid(BATCH_TOKENS, f"is {batch}; it must be at least {TOTAL_TOKENS}, which is {total}.")
        return cls(taken, total, batch, number(environment, BATCH_PREFILL_TOKENS) or max(taken, PREFILL_TOKENS))

    def check(self, length: int, settings: Decoding) -> Decoding:
        """Return `settings` with the number of new tokens, for a prompt of `length` tokens.

        Raises:
            TooLong: a limit is exceeded; the error names what to shorten, and the limit.
        """
        if length > self.input_length:
            raise TooLong(
                "inputs",
                f"must have at most {self.input_length} tokens ({INPUT_LENGTH}), and has {length}; shorten it, or "
                f"send parameters.truncate={self.input_length} to keep its end.",
            )
        wanted = settings.max_new_tokens
        if wanted is not None and length + wanted > self.total_tokens:
            raise TooLong(
                "max_new_tokens",
                f"is {wanted}, and with {length} tokens of inputs that is more than {self.total_tokens} "
                f"({TOTAL_TOKENS}); ask for at most {self.total_tokens - length}, or shorten inputs.",
            )
        if wanted is None:
            wanted = settings.default_new_tokens or DEFAULT_NEW_TOKENS
            if settings.default_new_tokens is None and settings.default_length is not None:
                # It counts the prompt too, and leaves room for one token.
                wanted = max(1, settings.default_length - length)
            wanted = min(wanted, self.total_tokens - length)
        return replace(settings, max_new_tokens=wanted, default_new_tokens=None, default_length=None)


def number(environment: Mapping[str, str], name: str) -> int | None:
    """Read a whole number from an environment variable; None if it is absent or empty.

    Raises:
        Invalid: not a whole number above 0.
    """
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise Invalid(name, f"must be a whole number above 0, not {text[:40]!r}.")
    return int(text)


def _stops(name: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise Invalid(name, "must be a text, or a list of texts that are not empty.")
    if len(texts) > MOST_STOPS or any(len(text) > LONGEST_STOP for text in texts):
        raise Invalid(name, f"takes at most {MOST_STOPS} texts of at most {LONGEST_STOP} characters.")
    return tuple(texts)
