"""Decoders by transformers' own `generate`, one text at a time: the reference, and the fallback of the step engine.

It supports all of generation_config.json (beams, forbidden n-grams and words, stop strings, …) and models with a recurrent
state instead of keys and values. Tokens are sent as they are generated, except with beams, whose text is known only at its end.
"""

from __future__ import annotations

import copy
import gc
import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList
from transformers.generation.stopping_criteria import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from inference.decoders import RequestHandle, TokenEvent, failed
from inference.decoders.words import Detokenizer, Detokenizers
from inference.engines import Description
from inference.engines.batching import out_of_memory

NAME = "generate"
# Settings that the step engine supports too, and settings that change no token.
_ELSEWHERE = frozenset({
    "do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens", "max_length",
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "use_cache", "cache_implementation",
    "cache_config", "max_cache_len", "prompt_lookup_num_tokens", "max_matching_ngram_size", "is_assistant",
    "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_early_exit",
    "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight", "speculation_type", "compile_config",
    "disable_compile", "continuous_batching_config", "output_attentions", "output_hidden_states", "output_scores",
    "output_logits", "return_dict_in_generate", "transformers_version", "_from_model_config", "num_return_sequences",
})  # fmt: skip
_NEUTRAL: Mapping[str, Any] = {
    "num_beams": 1, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0,
    "min_length": 0, "min_new_tokens": 0, "typical_p": 1.0, "min_p": 0.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    "renormalize_logits": False, "remove_invalid_values": False, "guidance_scale": 1.0, "token_healing": False,
    "num_beam_groups": 1, "diversity_penalty": 0.0, "penalty_alpha": 0.0, "use_mtp": False,
}  # fmt: skip
# Settings that only affect beam search.
_OF_BEAMS = ("length_penalty", "early_stopping")

log = logging.getLogger("inference")


def asks_more(config: GenerationConfig) -> list[str]:
    """Return the names in a model's generation configuration that only `generate` supports."""
    asked = {name: value for name, value in config.to_diff_dict().items() if value not in (None, [], {})}
    beams = (config.num_beams or 1) > 1
    return sorted(
        name
        for name, value in asked.items()
        if name not in _ELSEWHERE and _NEUTRAL.get(name) != value and (beams or name not in _OF_BEAMS)
    )


class WholeEngine:
    """Decoder engine that generates one text after the other."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.detokenizers = Detokenizers(tokenizer, model.generation_config)
        self._waiting: deque[RequestHandle] = deque()
        self._lock = threading.Lock()
        self.description = Description(NAME, str(model.device), str(model.dtype).removeprefix("torch."))

    @property
    def alive(self) -> bool:
        return True

    def submit(self, handle: RequestHandle) -> None:
        with self._lock:
            self._waiting.append(handle)

    def close(self) -> None:
        """Release nothing: the owner releases the model."""

    def step(self) -> bool:
        """Answer the text that has waited longest."""
        with self._lock:
            handle = self._waiting.popleft() if self._waiting else None
        if handle is not None and not handle.left:
            self._answer(handle)
        return bool(self._waiting)

    def _answer(self, handle: RequestHandle) -> None:
        try:
            self._generate(handle)
            return
        except Exception as error:
            short = out_of_memory(error)
            if not short:
                log.exception("generate failed")
            why = "it does not fit into memory" if short else f"the model fails on it: {type(error).__name__}"
        # Outside the except block: the traceback holds the failed pass's tensors.
        gc.collect()
        handle.emit(failed(why))

    # no_grad, not inference_mode: some models keep their state in place.
    @torch.no_grad()
    def _generate(self, handle: RequestHandle) -> None:
        prompt, model = handle.prompt, self._model
        config = self._config(handle)
        tokens = torch.tensor([prompt.tokens], device=model.device)  # (1, tokens)
        streamer = _TokenStreamer(handle, self.detokenizers.of(prompt))
        beams = config.num_beams or 1
        with torch.random.fork_rng(enabled=bool(config.do_sample)):
            if config.do_sample:
                torch.manual_seed(prompt.key % 2**63)
            output: Tensor = model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=config,
                logits_processor=LogitsProcessorList([streamer.listener] if beams == 1 else []),
                stopping_criteria=StoppingCriteriaList([streamer.criterion]),
                streamer=streamer if beams == 1 else None,
                tokenizer=self._tokenizer,
            )  # (1, tokens and new ones)
        if beams > 1:
            new = output[0, len(prompt.tokens) :].tolist()
            logprobs = self._logprobs(output, len(new)) if prompt.settings.details else [0.0] * len(new)
            for token, logprob in zip(new, logprobs, strict=True):
                streamer.add(token, logprob)
        streamer.end()

    def _logprobs(self, output: Tensor, new: int) -> list[float]:
        logits = self._model(input_ids=output[:1]).logits[0, -new - 1 : -1].float()  # (new, vocabulary)
        return logits.log_softmax(dim=-1).gather(1, output[0, -new:].unsqueeze(1)).squeeze(1).tolist()  # type: ignore[no-any-return]

    def _config(self, handle: RequestHandle) -> GenerationConfig:
        settings, config = handle.prompt.settings, copy.deepcopy(self._model.generation_config)
        ends = sorted(self.detokenizers.ends)
        pad = config.pad_token_id if config.pad_token_id is not None else self._tokenizer.pad_token_id
        most = settings.max_new_tokens or 0
        changes = {
            # A minimum above the maximum would forbid the end token throughout, and make transformers warn for each text.
            "min_new_tokens": None if config.min_new_tokens is None else min(config.min_new_tokens, most),
            "min_length": None
            if config.min_length is None
            else min(config.min_length, len(handle.prompt.tokens) + most),
            "max_new_tokens": settings.max_new_tokens,
            "max_length": None,
            "do_sample": settings.do_sample,
            "temperature": settings.temperature if settings.do_sample else None,
            "top_k": settings.top_k if settings.do_sample else None,
            "top_p": settings.top_p if settings.do_sample else None,
            "repetition_penalty": settings.repetition_penalty,
            "num_return_sequences": 1,
            "eos_token_id": ends or None,
            "pad_token_id": pad if pad is not None else (ends[0] if ends else 0),
            # Decoding methods with the same result, some of which need parts that are missing here.
            "cache_implementation": None,
            "prompt_lookup_num_tokens": None,
            "return_dict_in_generate": False,
        }
        for name, value in changes.items():
            setattr(config, name, value)
        return config


class _Listener(LogitsProcessor):  # type: ignore[misc]  # transformers publishes no types
    """Keeps the last step's log-probabilities, after the processors that forbid tokens and before those that sample."""

    last: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.last = scores[0].float().log_softmax(dim=-1)  # (vocabulary,)
        return scores


class _Criterion(StoppingCriteria):  # type: ignore[misc]  # transformers publishes no types
    """Stops the generation once its client has the whole text, or has disconnected."""

    def __init__(self, streamer: _TokenStreamer) -> None:
        self._streamer = streamer

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        over = self._streamer.over
        return torch.full((input_ids.shape[0],), over, device=input_ids.device, dtype=torch.bool)


class _TokenStreamer(BaseStreamer):  # type: ignore[misc]  # transformers publishes no types
    """Send each token to the client with a delay of one token, because only the next one shows whether it was the last."""

    def __init__(self, handle: RequestHandle, detokenizer: Detokenizer) -> None:
        self._handle, self._detokenizer = handle, detokenizer
        self._held: TokenEvent | None = None
        self._count = -1 if (handle.prompt.tokens) else 0
        self._finished = False
        self.listener, self.criterion = _Listener(), _Criterion(self)

    @property
    def over(self) -> bool:
        return self._finished or self._handle.left

    def put(self, value: Tensor) -> None:
        if self._count < 0:
            # `generate` puts the prompt first, which is not sent.
            self._count = 0
            return
        for token in value.reshape(-1).tolist():
            last = self.listener.last
            self.add(token, float(last[token]) if last is not None else 0.0)

    def add(self, token: int, logprob: float) -> None:
        """Hold the next token, and send the one held before."""
        if self._finished:
            return
        if self._held is not None:
            self._handle.emit(self._held)
        event = self._detokenizer.event(token, logprob)
        self._count = max(self._count, 0) + 1
        self._held = event
        if event.finish is not None:
            self._finished = True
            self._held = None
            self._handle.emit(self._detokenizer.last(event, event.finish))

    def end(self) -> None:
        """Send the held token as the last."""
        if self._held is not None:
            most = self._handle.prompt.settings.max_new_tokens or 0
            finish = "length" if self._count >= most else "stop_sequence"
            held, self._held, self._finished = self._held, None, True
            self._handle.emit(self._detokenizer.last(held, finish))
