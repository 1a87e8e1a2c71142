"""Make the task of a loaded decoder and its environment: first the limits, then the engine that observes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AutoConfig

from inference.decoders import DecoderEngine
from inference.decoders.packing import pack, unpack
from inference.decoders.probe import agree, answers, failure, prompts_for, tokens_of
from inference.decoders.settings import DEFAULT_TOTAL_TOKENS, Limits
from inference.decoders.steps import StepEngine
from inference.decoders.task import TextGeneration
from inference.decoders.vllm import VllmEngine
from inference.decoders.whole import WholeEngine, asks_more
from inference.errors import ModelBroken
from inference.models.loading import INFERENCE_ENGINE, OWN, Loaded, gpus_of
from promotion.domain.generation_config import FILE

log = logging.getLogger("inference")


def text_generation(loaded: Loaded, environment: Mapping[str, str]) -> TextGeneration:
    """Return the task of a decoder model.

    Raises:
        Invalid: a limit is not a number, exceeds the model's, or contradicts another limit.
        ModelBroken: the model fails on a first text, needs a feature that vLLM lacks, or vLLM does not start.
    """
    whole = loaded.model.config if loaded.model is not None else AutoConfig.from_pretrained(loaded.folder)
    config = whole.get_text_config()
    on_cuda = loaded.model is None or loaded.model.device.type == "cuda"
    limits = Limits.of(environment, reach=_reach(config), on_cuda=on_cuda)
    engine: DecoderEngine
    more = asks_more(loaded.generation_config)
    if (loaded.generation_config.num_return_sequences or 1) > 1:
        raise ModelBroken(f"{FILE}: num_return_sequences is above 1, and a prompt gets one text; take it out.")
    if loaded.model is None:
        if more:
            raise ModelBroken(
                f"{FILE}: {more[0]} is not followed by vLLM: set {INFERENCE_ENGINE}={OWN}, or take it out."
            )
        engine = VllmEngine.start(loaded, limits, gpus=gpus_of(environment), environment=environment)
    else:
        engine = _fastest(loaded, limits, more)
    return TextGeneration(loaded, limits, engine)


def _fastest(loaded: Loaded, limits: Limits, more: Sequence[str]) -> StepEngine | WholeEngine:
    """Return the step engine if it supports the model and agrees with `generate`; else `generate`."""
    whole, prompts = WholeEngine(loaded.model, loaded.tokenizer), prompts_for(loaded.tokenizer, limits)
    why = ", ".join(more)
    if not more and getattr(loaded.model, "_is_stateful", False):
        why = "a state instead of keys and values"
    if not why:
        # Tokens are compared only in float32, because ties are frequent in 16 bits; before packing, which changes the model.
        wanted = tokens_of(answers(whole, prompts)) if loaded.model.dtype == torch.float32 else None
        packed = pack(loaded.model)
        steps = StepEngine(loaded.model, loaded.tokenizer, limits)
        if agree(steps, prompts, wanted):
            return steps
        if packed:
            unpack(loaded.model)
            steps = StepEngine(loaded.model, loaded.tokenizer, limits)
            if agree(steps, prompts, wanted):
                log.warning("computed without packed weights, slower: with them this model answers otherwise")
                return steps
        why = "a cache that is not of keys and values alone"
    log.warning("answered by transformers' generate, one text at a time, because of %s", why)
    failed = failure(whole, prompts)
    if failed:
        raise ModelBroken(f"The model loads, and does not answer: {failed}.")
    return whole


def _reach(config: Any) -> int:
    named = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "seq_length")]
    return next((value for value in named if isinstance(value, int) and value > 0), DEFAULT_TOTAL_TOKENS)
