"""The reference engine: transformers' own `generate`, over batches of similar length.

Faster engines are compared with it, and it supports all features that they lack.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from inference.engines import Arrivals, Description, Generated, Prompt
from inference.engines.batching import (
    CPU_DECODER_BUDGET,
    CPU_TOKEN_BUDGET,
    CUDA_TOKEN_BUDGET,
    DoesNotFit,
    by_token_budget,
    halving,
)
from inference.engines.history import one_by_one, restorer
from inference.engines.sampling import RecordSampler
from inference.records.parameters import Generation

Sequences = tuple[tuple[int, ...], ...]
# Transformers' default if neither request nor model sets a length.
DEFAULT_NEW_TOKENS = 20


class GenerateEngine:
    """Text generation with any encoder-decoder model of transformers."""

    joins = False

    def __init__(self, model: PreTrainedModel, *, token_budget: int | None = None) -> None:
        self._model = model
        on_cuda = model.device.type == "cuda"
        self._budget = token_budget or (CUDA_TOKEN_BUDGET if on_cuda else CPU_DECODER_BUDGET)
        self._encoder_budget = CUDA_TOKEN_BUDGET if on_cuda else CPU_TOKEN_BUDGET
        self._pad = model.config.pad_token_id or 0
        self._one_by_one, self._restore = one_by_one(model), restorer(model)
        ends = model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        self.description = Description("generate", str(model.device), str(model.dtype).removeprefix("torch."))

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Yield each prompt's index and result; no prompt can join a call of `generate`, so `arrivals` is not used."""
        groups: dict[Generation, list[int]] = {}
        for index, prompt in enumerate(prompts):
            groups.setdefault(_shared(prompt.settings), []).append(index)
        for settings, group in groups.items():
            widths = [len(prompts[index].tokens) * _rows(settings) for index in group]
            for batch in (
                [[place] for place in range(len(group))]
                if self._one_by_one or _alone(settings)
                else by_token_budget(widths, self._budget)
            ):
                indices = [group[place] for place in batch]
                started = time.perf_counter()
                results = halving([prompts[index] for index in indices], lambda rows: self._forward(rows, settings))  # noqa: B023
                for index, result in zip(indices, results, strict=True):
                    seconds = time.perf_counter() - started
                    if isinstance(result, DoesNotFit):
                        yield index, Generated((), seconds, result.why)
                    else:
                        yield index, Generated(result, seconds)

    @torch.inference_mode()
    def _forward(self, prompts: Sequence[Prompt], settings: Generation) -> list[Sequences]:
        """Call `generate` once for prompts that share `settings`, apart from their seeds."""
        self._restore()
        source: dict[str, Any] = {}
        if self._one_by_one:
            tokens, mask = padded([prompt.tokens for prompt in prompts], self._pad)
            source["input_ids"], mask = tokens.to(self._model.device), mask.to(self._model.device)
        else:
            mask, source["encoder_outputs"] = self._encode(prompts)
        config = self._config(settings)
        processors = LogitsProcessorList()
        if settings.do_sample and not _alone(settings):
            keys = [prompt.key for prompt in prompts]
            steps = config.max_new_tokens
            processors.append(
                RecordSampler(
                    keys,
                    settings.num_return_sequences,
                    steps,
                    temperature=settings.temperature,
                    top_k=settings.top_k,
                    top_p=settings.top_p,
                )
            )
        with torch.random.fork_rng(enabled=settings.do_sample):
            if _alone(settings):
                # Beam sampling draws from the global generator, which is seeded for this record and restored afterwards.
                torch.manual_seed(prompts[0].key % 2**63)
            output: Tensor = self._model.generate(
                **source,
                attention_mask=mask,
                generation_config=config,
                logits_processor=processors,
            )  # (prompts * sequences, steps)
        rows = [self._trimmed(row) for row in output.tolist()]
        count = settings.num_return_sequences
        return [tuple(rows[place : place + count]) for place in range(0, len(rows), count)]

    def _encode(self, prompts: Sequence[Prompt]) -> tuple[Tensor, BaseModelOutput]:
        """Return the mask, int64, (prompts, longest), and the encoder's output, (prompts, longest, width).

        The encoder has its own token budget: its work grows with every padded token and should fit into the CPU cache, while
        a decoder step costs about the same for few rows as for many.
        """
        lengths = [len(prompt.tokens) for prompt in prompts]
        batches = by_token_budget(lengths, self._encoder_budget)
        hidden: Tensor | None = None
        for batch in batches:
            tokens, mask = padded([prompts[index].tokens for index in batch], self._pad)
            tokens, mask = tokens.to(self._model.device), mask.to(self._model.device)
            part = self._model.get_encoder()(input_ids=tokens, attention_mask=mask).last_hidden_state
            if hidden is None:
                hidden = part.new_zeros(len(prompts), max(lengths), part.shape[-1])
            hidden[batch, : part.shape[1]] = part
        ends = torch.tensor(lengths, device=self._model.device).unsqueeze(1)
        mask = (torch.arange(max(lengths), device=self._model.device) < ends).long()
        return mask, BaseModelOutput(last_hidden_state=hidden)

    def _config(self, settings: Generation) -> GenerationConfig:
        config = copy.deepcopy(self._model.generation_config)
        # The maximum is always given as new tokens: `generate` takes fields that are None here from the model's configuration,
        # whose max_new_tokens would override a max_length. max_length counts the start token; at least one token is allowed.
        length = max(1, settings.max_length - 1) if settings.max_length else DEFAULT_NEW_TOKENS
        most = settings.max_new_tokens or length
        changes = {
            "num_beams": settings.num_beams,
            "num_return_sequences": settings.num_return_sequences,
            "no_repeat_ngram_size": settings.no_repeat_ngram_size,
            "early_stopping": settings.early_stopping if settings.num_beams > 1 else None,
            "do_sample": settings.do_sample,
            # RecordSampler applies these, so `generate` must not apply them again.
            "temperature": settings.temperature if _alone(settings) else None,
            "top_k": (settings.top_k if _alone(settings) else 0) if settings.do_sample else None,
            "top_p": settings.top_p if _alone(settings) else None,
            "max_new_tokens": most,
            # Decoding methods with the same result, some of which support only one text at a time.
            "cache_implementation": None,
            "prompt_lookup_num_tokens": None,
        }
        if settings.forced_bos_token_id is not None:
            changes["forced_bos_token_id"] = settings.forced_bos_token_id
        for name, value in changes.items():
            setattr(config, name, value)
        return config

    def _trimmed(self, row: Sequence[int]) -> tuple[int, ...]:
        """Return a generated row without its start token, and up to its first end token."""
        for place, token in enumerate(row[1:], start=1):
            if token in self._ends:
                return tuple(row[1:place])
        return tuple(row[1:])


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return the padded token ids and the mask, int64, shape (rows, longest)."""
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return tokens, (torch.arange(width) < lengths.unsqueeze(1)).long()


def _shared(settings: Generation) -> Generation:
    """Return the settings that rows of one batch share: all but the seed and those greedy search ignores."""
    settings = replace(settings, seed=None, src_lang=None, tgt_lang=None)
    return settings if settings.do_sample else replace(settings, temperature=1.0, top_k=50, top_p=1.0)


def _rows(settings: Generation) -> int:
    return max(settings.num_beams, settings.num_return_sequences)


def _alone(settings: Generation) -> bool:
    """Return True if each record needs a batch of its own, so that sampling doesn't depend on others."""
    return settings.do_sample and settings.num_beams > 1
