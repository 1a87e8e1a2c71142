"""Entailment of many pairs: batches of like length under a token budget, one forward pass each."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from inference.batching import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, DoesNotFit, by_token_budget, halving
from inference.engines import Description, Entailment, Pair
from inference.engines.generate import padded


class NliEngine:
    """Any sequence classification model with an entailment class."""

    def __init__(self, model: PreTrainedModel, *, token_budget: int | None = None) -> None:
        self._model = model
        self._budget = token_budget or (CUDA_TOKEN_BUDGET if model.device.type == "cuda" else CPU_TOKEN_BUDGET)
        self._pad = model.config.pad_token_id or 0
        classes = model.config.label2id.items()
        self._entailment = next(place for name, place in classes if str(name).lower().startswith("entail"))
        # As the transformers pipeline has it: the first class, or the last where entailment is the first.
        self._contradiction = -1 if self._entailment == 0 else 0
        # A classification head looks at no cache, and keeping one would double the memory.
        takes_cache = "use_cache" in inspect.signature(model.forward).parameters
        self._options = {"use_cache": False} if takes_cache else {}
        self.description = Description("nli", str(model.device), str(model.dtype).removeprefix("torch."))

    def score(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Entailment]]:
        for batch in by_token_budget([len(pair.tokens) for pair in pairs], self._budget):
            started = time.perf_counter()
            results: Iterator[tuple[float, float] | DoesNotFit] = halving(
                [pairs[index] for index in batch], self._forward
            )
            for index, result in zip(batch, results, strict=True):
                seconds = time.perf_counter() - started
                if isinstance(result, DoesNotFit):
                    yield index, Entailment(0.0, 0.0, seconds, result.why)
                else:
                    yield index, Entailment(*result, seconds)

    @torch.inference_mode()
    def _forward(self, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
        tokens, mask = padded([pair.tokens for pair in pairs], self._pad)
        inputs = {"input_ids": tokens, "attention_mask": mask}
        if pairs[0].types is not None:
            inputs["token_type_ids"] = padded([pair.types or () for pair in pairs], 0)[0]
        inputs = {name: tensor.to(self._model.device) for name, tensor in inputs.items()}
        # Softmax follows in float64 on the CPU: bfloat16's 8 bits are too coarse for scores that are compared.
        logits = self._model(**inputs, **self._options).logits.float().cpu()  # (pairs, classes)
        return [(row[self._contradiction], row[self._entailment]) for row in logits.tolist()]
