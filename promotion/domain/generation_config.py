"""Unusable values of a generation_config.json, reported by key.

Values are refused if transformers' own `generate` would raise for them or ignore them, so that no result differs silently
from an evaluation elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILE = "generation_config.json"
_WHOLE = {
    "max_length": 1, "max_new_tokens": 1, "min_length": 0, "min_new_tokens": 0, "num_beams": 1,
    "num_return_sequences": 1, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
    "bos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 0, "forced_bos_token_id": 0,
}  # fmt: skip
_POSITIVE = ("repetition_penalty", "encoder_repetition_penalty")
_NUMBERS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "length_penalty", "guidance_scale")
_TOKENS = ("eos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens")
# Search methods that this transformers version has only as code from a hub, and those that need more than a model.
_UNDONE: Mapping[str, Any] = {
    "num_beam_groups": 1, "diversity_penalty": 0.0, "penalty_alpha": 0.0, "dola_layers": None, "constraints": None,
    "force_words_ids": None, "token_healing": False, "use_mtp": False,
}  # fmt: skip


def defaults_problem(document: Mapping[str, Any]) -> str:
    """Return the first unusable default of a model, with file and key; empty if there is none."""
    found = {name: value for name, value in document.items() if value is not None}
    for name, value in found.items():
        why = _wrong(name, value)
        if why:
            return f"{FILE}: {name} {why}"
    if found.get("do_sample") and (why := _wrong_sampling(found)):
        return f"{FILE}: {why}"
    texts = found.get("num_return_sequences", 1)
    if texts > found.get("num_beams", 1) and not found.get("do_sample"):
        return f"{FILE}: num_return_sequences is {texts}: that takes as many num_beams, or do_sample."
    for name, neutral in _UNDONE.items():
        if name in found and found[name] != neutral:
            return f"{FILE}: {name} asks for a search that is not done here; take it out."
    return ""


def _wrong(name: str, value: Any) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    number = whole or isinstance(value, float)
    if name in _WHOLE:
        least = _WHOLE[name]
        # In old files a padding token of -1 means that there is none.
        fine = whole and (value >= least or (name.endswith("_token_id") and value == -1))
        return None if fine else f"must be a whole number of at least {least}, not {value!r}."
    if name in _POSITIVE and not (number and value > 0):
        return f"must be a number above 0, not {value!r}."
    if name in _NUMBERS and not number:
        return f"must be a number, not {value!r}."
    if name == "do_sample" and not isinstance(value, bool):
        return f"must be true or false, not {value!r}."
    if name == "early_stopping" and not isinstance(value, bool) and value != "never":
        return f'must be true, false or "never", not {value!r}.'
    if name in _TOKENS and not _all_whole(value if isinstance(value, list) else [value]):
        return f"must be a token's number, or a list of them, not {value!r}."
    if name == "bad_words_ids" and not (
        isinstance(value, list) and all(isinstance(word, list) and word and _all_whole(word) for word in value)
    ):
        return f"must be lists of tokens' numbers, not {value!r}."
    if name == "stop_strings" and not _texts(value):
        return f"must be a text, or a list of texts, not {value!r}."
    return None


def _wrong_sampling(found: Mapping[str, Any]) -> str:
    if not found.get("temperature", 1) > 0:
        return f"temperature must be above 0 where do_sample is true, not {found['temperature']}."
    top_k = found.get("top_k", 0)
    if top_k < 0 or (isinstance(top_k, float) and not top_k.is_integer()):
        return f"top_k must be a whole number, 0 for off, not {top_k}."
    if not 0 < found.get("top_p", 1) <= 1:
        return f"top_p must be above 0 and at most 1, not {found['top_p']}."
    return ""


def _all_whole(values: list[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _texts(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) and text for text in texts)
