"""A step engine and its model, watched by tests."""

from __future__ import annotations

from typing import Any

import torch

from inference.decoders import GenerationRequest, RequestHandle
from inference.decoders.settings import Decoding, Limits
from inference.decoders.steps import StepEngine
from inference.decoders.task import Collected
from inference.models.loading import Loaded
from tests.inference.samples import sentences

TEXTS = [*sentences(6, longest=12), "über 東京 🦊", "x"]


class Watched:
    """The model, seen from outside: how many rows each of its passes had; `broken` is a token that it can't stand."""

    def __init__(self, model: Any, broken: int | None = None, short: int | None = None) -> None:
        self._model, self._broken, self._short = model, broken, short
        self.rows: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *, input_ids: torch.Tensor, past_key_values: Any, **options: Any) -> Any:
        rows = input_ids.shape[0]
        self.rows.append(rows)
        if self._broken is not None and bool((input_ids == self._broken).any()):
            raise ValueError("this token breaks the model")
        if self._short is not None and rows > self._short:
            raise torch.OutOfMemoryError("out of memory")
        return self._model(input_ids=input_ids, past_key_values=past_key_values, **options)

    def forward(self, *, input_ids: Any, position_ids: Any = None, logits_to_keep: int = 0) -> None:
        """Only its parameters are looked at."""


def engine_of(loaded: Loaded, model: Any, batch: int = 4_096) -> tuple[StepEngine, Limits]:
    limits = Limits(255, 256, batch)
    return StepEngine(model, loaded.tokenizer, limits), limits


def continuation(loaded: Loaded, text: str, tokens: int) -> GenerationRequest:
    return GenerationRequest(text, tuple(loaded.tokenizer(text)["input_ids"]), Decoding(max_new_tokens=tokens), 1)


def watch(engine: StepEngine, prompt: GenerationRequest) -> tuple[Collected, RequestHandle]:
    seen = Collected(prompt)
    handle = RequestHandle(prompt, seen.add)
    engine.submit(handle)
    return seen, handle


def said(one: Collected) -> list[tuple[int, str]]:
    """Logarithms aside, whose last bits depend on the shape of a batch."""
    return [(event.id, event.text) for event in one.events]


def run(engine: StepEngine) -> None:
    while engine.step():
        pass
