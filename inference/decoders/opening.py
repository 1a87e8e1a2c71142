"""A loaded decoder and its environment become the task: limits first, then the engine that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig

from inference.decoders import Continuing
from inference.decoders.paged import PagedEngine
from inference.decoders.settings import DEFAULT_TOTAL_TOKENS, Limits
from inference.decoders.steps import StepEngine
from inference.decoders.task import TextGeneration
from inference.decoders.vllm import VllmEngine
from inference.errors import ModelBroken
from inference.models.loading import INFERENCE_ENGINE, PAGED, Loaded, gpus_of


def text_generation(loaded: Loaded, environment: Mapping[str, str]) -> TextGeneration:
    """The task of a decoder model.

    Raises:
        Invalid: a limit that is no number, beyond the model, or at odds with another.
        ModelBroken: a kind of model whose past can't be kept in rows, or vLLM does not start.
    """
    whole = loaded.model.config if loaded.model is not None else AutoConfig.from_pretrained(loaded.folder)
    config = whole.get_text_config()
    on_cuda = loaded.model is None or loaded.model.device.type == "cuda"
    limits = Limits.of(environment, reach=_reach(config), on_cuda=on_cuda)
    engine: Continuing
    paged = None
    if loaded.model is None:
        engine = VllmEngine.start(loaded, limits, gpus=gpus_of(environment), environment=environment)
    else:
        if getattr(loaded.model, "_is_stateful", False):
            raise ModelBroken(f"{config.model_type} keeps a state instead of its past; such decoders are not run here.")
        engine = steps = StepEngine(loaded.model, loaded.tokenizer, limits)
        if environment.get(INFERENCE_ENGINE, "").strip() == PAGED:
            paged = PagedEngine(loaded.model, loaded.tokenizer, limits, steps)
    return TextGeneration(loaded, limits, engine, paged)


def _reach(config: Any) -> int:
    named = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "seq_length")]
    return next((value for value in named if isinstance(value, int) and value > 0), DEFAULT_TOTAL_TOKENS)
