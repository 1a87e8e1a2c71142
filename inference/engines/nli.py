"""Entailment of many pairs: batches of similar length under a token budget, one forward pass each."""

from __future__ import annotations

import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.engines import Description, Entailment, Pair, bart_pairs
from inference.engines.batching import (
    CPU_TOKEN_BUDGET,
    CUDA_TOKEN_BUDGET,
    DoesNotFit,
    by_token_budget,
    halving,
)
from inference.engines.generate import padded
from inference.engines.history import one_by_one, restorer
from inference.engines.transfers import fetched, onto

log = logging.getLogger("inference")

# Returns a pair's two logits, and waits until they are computed.
Logits = Callable[[], tuple[float, float]]
Result = tuple[float, float] | DoesNotFit


class NliEngine:
    """Any sequence classification model with an entailment class."""

    def __init__(
        self, model: PreTrainedModel, *, token_budget: int | None = None, packed: bool = True, ahead: bool | None = None
    ) -> None:
        """Make the engine; the options change only its speed.

        With `packed`, models with a padding-free engine are computed without padding. With `ahead` (the default on a GPU), the
        next batch is computed while the results of the last one are read.
        """
        self._model, self._may_pack = model, packed
        self._unread = int(model.device.type == "cuda" if ahead is None else ahead)  # batches
        self._compute_in(model.dtype)
        # BART searches for its end token, and refuses a batch in which the texts have different numbers of it.
        self._end = model.config.eos_token_id if model.config.model_type == "bart" else None
        self._budget = token_budget or (CUDA_TOKEN_BUDGET if model.device.type == "cuda" else CPU_TOKEN_BUDGET)
        self._pad = model.config.pad_token_id or 0
        # A head on a decoder finds a text's last token by the padding token; without one it supports only single texts.
        unpadded = model.config.pad_token_id is None and not model.config.is_encoder_decoder
        self._one_by_one, self._restore = unpadded or one_by_one(model), restorer(model)
        classes = model.config.label2id.items()
        self._entailment = next(place for name, place in classes if str(name).lower().startswith("entail"))
        # As in the transformers pipeline: the first class, or the last if entailment is the first.
        self._contradiction = -1 if self._entailment == 0 else 0
        # A classification head uses no KV cache, and keeping one would double the memory.
        takes_cache = "use_cache" in inspect.signature(model.forward).parameters
        self._options = {"use_cache": False} if takes_cache else {}

    def _compute_in(self, dtype: torch.dtype) -> None:
        model = self._model.to(dtype)
        self._packed = bart_pairs.bart_pairs(model) if self._may_pack else None
        name = "bart-pairs" if self._packed else "nli"
        fell_back = self._may_pack and self._packed is None and bart_pairs.does(model)
        self.description = Description(
            name, str(model.device), str(dtype).removeprefix("torch."), fallbacks=int(fell_back)
        )

    def score(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Entailment]]:
        unread: deque[tuple[list[int], float, Iterator[Result]]] = deque()
        for batch in self._batches(pairs):
            unread.append((batch, time.perf_counter(), self._results([pairs[index] for index in batch])))
            if len(unread) > self._unread:
                yield from self._entailments(*unread.popleft())
        for one in unread:
            yield from self._entailments(*one)

    def _entailments(
        self, batch: list[int], started: float, results: Iterator[Result]
    ) -> Iterator[tuple[int, Entailment]]:
        for index, result in zip(batch, results, strict=True):
            seconds = time.perf_counter() - started
            if isinstance(result, DoesNotFit):
                yield index, Entailment(0.0, 0.0, seconds, result.why)
            elif not all(map(isfinite, result)):
                why = f"the model computes no number for it in {self.description.dtype}"
                yield index, Entailment(0.0, 0.0, seconds, why)
            else:
                yield index, Entailment(*result, seconds)

    def _results(self, pairs: Sequence[Pair]) -> Iterator[Result]:
        """Return a result for each pair. The forward passes start now; the first result that is read waits for them."""
        dtype, asked = self._model.dtype, list(halving(pairs, self._forward))

        def read() -> Iterator[Result]:
            found = [one if isinstance(one, DoesNotFit) else one() for one in asked]
            numbers = [number for one in found if not isinstance(one, DoesNotFit) for number in one]
            if dtype == torch.float16 and not all(map(isfinite, numbers)):
                if self._model.dtype == torch.float16:
                    log.warning("the model's numbers leave float16's range: going on in bfloat16")
                    self._compute_in(torch.bfloat16)
                yield from self._results(pairs)
            else:
                yield from found

        return read()

    def _batches(self, pairs: Sequence[Pair]) -> Iterator[list[int]]:
        if self._one_by_one:
            yield from ([index] for index in range(len(pairs)))
            return
        alike: dict[int, list[int]] = {}
        for index, pair in enumerate(pairs):
            alike.setdefault(0 if self._end is None else pair.tokens.count(self._end), []).append(index)
        for group in alike.values():
            for batch in by_token_budget([len(pairs[index].tokens) for index in group], self._budget):
                yield [group[place] for place in batch]

    def _forward(self, pairs: Sequence[Pair]) -> list[Logits]:
        # Softmax follows in float64 on the CPU: 16 bits are too coarse for scores that are compared.
        numbers = cache(fetched(self._logits(pairs).float()))
        return [partial(self._two, numbers, place) for place in range(len(pairs))]

    def _two(self, numbers: Callable[[], list[Any]], place: int) -> tuple[float, float]:
        row = numbers()[place]
        return row[self._contradiction], row[self._entailment]

    @torch.inference_mode()
    def _logits(self, pairs: Sequence[Pair]) -> Tensor:
        """(pairs, classes)"""
        # The end token is assumed to be the last one, where every BART tokenizer puts it.
        if self._packed is not None and all(pair.tokens[-1] == self._end for pair in pairs):
            return self._packed.logits([pair.tokens for pair in pairs])
        self._restore()
        tokens, mask = padded([pair.tokens for pair in pairs], self._pad)
        inputs = {"input_ids": tokens, "attention_mask": mask}
        if pairs[0].types is not None:
            inputs["token_type_ids"] = padded([pair.types or () for pair in pairs], 0)[0]
        inputs = {name: onto(self._model.device, tensor) for name, tensor in inputs.items()}
        logits: Tensor = self._model(**inputs, **self._options).logits
        return logits
