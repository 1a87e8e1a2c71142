"""Neutral values: clients send other servers' parameters with the value that means "off".

A parameter that this server doesn't have is accepted with such a value, and refused by name with any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By name, the values that mean "off".
OFF: Mapping[str, tuple[Any, ...]] = {
    "adapter_id": (),
    "best_of": (1,),
    "bad_words_ids": ([],),
    "clean_up_tokenization_spaces": (False,),
    "decoder_input_details": (False,),
    "details": (False,),
    "diversity_penalty": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "frequency_penalty": (0,),
    "grammar": (),
    "guidance_scale": (1,),
    "ignore_eos": (False,),
    "ignore_eos_token": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "min_p": (0,),
    "min_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "output_attentions": (False,),
    "output_hidden_states": (False,),
    "output_scores": (False,),
    "penalty_alpha": (0,),
    "presence_penalty": (0,),
    "prompt_logprobs": (0,),
    "remove_invalid_values": (False,),
    "renormalize_logits": (False,),
    "repetition_penalty": (1,),
    "return_dict_in_generate": (False,),
    "return_full_text": (False,),
    "return_tensors": (False,),
    "return_text": (True,),
    "skip_special_tokens": (True,),
    "top_logprobs": (0,),
    "top_n_tokens": (0,),
    "top_p": (1,),
    "truncation": (False,),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "use_cache": (True, False),
    "watermark": (False,),
    # These affect only beam search, and a request with beams is refused by num_beams.
    "early_stopping": (True, False, "never"),
}
# Hub clients' settings for waiting and caching, which have no meaning for a server of one model.
_OPTIONS = ("use_cache", "use_gpu", "wait_for_model", "dont_load_model")


def off(name: str, value: Any) -> bool:
    """Return True if `value` is neutral for a parameter that this task doesn't have."""
    if value is None:
        return True
    if name == "options":
        return isinstance(value, dict) and all(key in _OPTIONS and isinstance(value[key], bool) for key in value)
    if name == "pad_token_id":
        # Any value is neutral, because padding is never part of an answer.
        return isinstance(value, int) and not isinstance(value, bool)
    return any(_same(value, one) for one in OFF.get(name, ()))


def settled(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return `parameters` with two spellings of "off" normalized: top_k -1, and temperature 0, which means greedy."""
    found = dict(parameters)
    if _same(found.get("top_k"), -1):
        found["top_k"] = 0
    if _same(found.get("temperature"), 0):
        del found["temperature"]
        found["do_sample"] = False
    return found


def _same(value: Any, other: Any) -> bool:
    """Return True if two values are equal; True and 1 are not."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
