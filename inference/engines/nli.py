"""Entailment of many pairs: batches of like length under a token budget, one forward pass each."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Iterator, Sequence
from math import isfinite

import torch
from transformers import PreTrainedModel

from inference.batching import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, DoesNotFit, by_token_budget, halving
from inference.engines import Description, Entailment, Pair, bart_pairs
from inference.engines.generate import padded

log = logging.getLogger("inference")


class NliEngine:
    """Any sequence classification model with an entailment class."""

    def __init__(self, model: PreTrainedModel, *, token_budget: int | None = None, packed: bool = True) -> None:
        """`packed` computes without padding where that is known how: it changes speed only."""
        self._model, self._may_pack = model, packed
        self._compute_in(model.dtype)
        # BART looks for its end token, and refuses a batch in which some texts hold more of them than others.
        self._end = model.config.eos_token_id if model.config.model_type == "bart" else None
        self._budget = token_budget or (CUDA_TOKEN_BUDGET if model.device.type == "cuda" else CPU_TOKEN_BUDGET)
        self._pad = model.config.pad_token_id or 0
        classes = model.config.label2id.items()
        self._entailment = next(place for name, place in classes if str(name).lower().startswith("entail"))
        # As the transformers pipeline has it: the first class, or the last where entailment is the first.
        self._contradiction = -1 if self._entailment == 0 else 0
        # A classification head looks at no cache, and keeping one would double the memory.
        takes_cache = "use_cache" in inspect.signature(model.forward).parameters
        self._options = {"use_cache": False} if takes_cache else {}

    def _compute_in(self, dtype: torch.dtype) -> None:
        model = self._model.to(dtype)
        self._packed = bart_pairs.bart_pairs(model) if self._may_pack else None
        name = "bart-pairs" if self._packed else "nli"
        self.description = Description(name, str(model.device), str(dtype).removeprefix("torch."))

    def score(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Entailment]]:
        for batch in self._batches(pairs):
            started = time.perf_counter()
            results: Iterator[tuple[float, float] | DoesNotFit] = halving(
                [pairs[index] for index in batch], self._forward
            )
            for index, result in zip(batch, results, strict=True):
                seconds = time.perf_counter() - started
                if isinstance(result, DoesNotFit):
                    yield index, Entailment(0.0, 0.0, seconds, result.why)
                elif not all(map(isfinite, result)):
                    why = f"the model computes no number for it in {self.description.dtype}"
                    yield index, Entailment(0.0, 0.0, seconds, why)
                else:
                    yield index, Entailment(*result, seconds)

    def _batches(self, pairs: Sequence[Pair]) -> Iterator[list[int]]:
        alike: dict[int, list[int]] = {}
        for index, pair in enumerate(pairs):
            alike.setdefault(0 if self._end is None else pair.tokens.count(self._end), []).append(index)
        for group in alike.values():
            for batch in by_token_budget([len(pairs[index].tokens) for index in group], self._budget):
                yield [group[place] for place in batch]

    def _forward(self, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
        found = self._logits(pairs)
        if self._model.dtype == torch.float16 and not all(isfinite(logit) for row in found for logit in row):
            log.warning("the model's numbers leave float16's range: going on in bfloat16")
            self._compute_in(torch.bfloat16)
            found = self._logits(pairs)
        return found

    @torch.inference_mode()
    def _logits(self, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
        # It takes the end token to be the last one, as every tokenizer of BART puts it.
        if self._packed is not None and all(pair.tokens[-1] == self._end for pair in pairs):
            found = self._packed.logits([pair.tokens for pair in pairs]).float()
            return [(row[self._contradiction], row[self._entailment]) for row in found.tolist()]
        tokens, mask = padded([pair.tokens for pair in pairs], self._pad)
        inputs = {"input_ids": tokens, "attention_mask": mask}
        if pairs[0].types is not None:
            inputs["token_type_ids"] = padded([pair.types or () for pair in pairs], 0)[0]
        inputs = {name: tensor.to(self._model.device) for name, tensor in inputs.items()}
        # Softmax follows in float64 on the CPU: bfloat16's 8 bits are too coarse for scores that are compared.
        logits = self._model(**inputs, **self._options).logits.float().cpu()  # (pairs, classes)
        return [(row[self._contradiction], row[self._entailment]) for row in logits.tolist()]
