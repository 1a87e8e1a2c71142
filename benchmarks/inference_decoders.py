"""Decoder models: one text after the other against the step engine; part of benchmarks.inference."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from examples.training import END, PAD, UNKNOWN, tokenizer_of
from inference.decoders import GenerationRequest, RequestHandle, TokenEvent
from inference.decoders.settings import Decoding, Limits
from inference.decoders.steps import StepEngine

PROMPTS, NEW_TOKENS, VOCABULARY, REACH = 32, 32, 1_000, 1_024
Rows = list[list[int]]


def measure(rounds: int) -> dict[str, Any]:
    """Ratios of CPU time (of wall time on a GPU) to one text after the other, and the share of identical rows."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=REACH, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        initializer_range=0.1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().to(device)
    tokenizer = tokenizer_of(["a b c"] * 3, size=20, specials=(PAD, END, UNKNOWN), single="$A")
    limits = Limits.of({}, reach=REACH, on_cuda=device.type == "cuda")
    chance = random.Random(0)
    rows = [[chance.randrange(3, VOCABULARY) for _ in range(chance.randrange(16, 300))] for _ in range(PROMPTS)]

    @torch.inference_mode()
    def one_by_one() -> Rows:
        found = []
        for row in rows:
            tokens = torch.tensor([row], device=device)
            output = model.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=NEW_TOKENS, do_sample=False
            )
            found.append(output[0, len(row) :].tolist())
        return found

    def handles() -> tuple[list[list[TokenEvent]], list[RequestHandle]]:
        events: list[list[TokenEvent]] = [[] for _ in rows]
        settings = Decoding(max_new_tokens=NEW_TOKENS)
        made = [
            RequestHandle(GenerationRequest("", tuple(row), settings, key), events[key].append)
            for key, row in enumerate(rows)
        ]
        return events, made

    def said(events: list[list[TokenEvent]]) -> Rows:
        return [[event.id for event in one] for one in events]

    def steps() -> Rows:
        engine = StepEngine(model, tokenizer, limits)
        events, made = handles()
        for handle in made:
            engine.submit(handle)
        while engine.step():
            pass
        return said(events)

    variants: dict[str, Callable[[], Rows]] = {"one by one": one_by_one, "step engine": steps}
    seconds: dict[str, list[float]] = {}
    found: dict[str, Rows] = {}
    for _ in range(rounds):
        for name, run in variants.items():
            begun = _clock(device)
            found[name] = run()
            seconds.setdefault(name, []).append(_clock(device) - begun)
    reference = found["one by one"]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **{
            name: {
                "seconds": round(min(times), 3),
                "ratio": round(min(seconds["one by one"]) / min(times), 3),
                "identical": sum(one == other for one, other in zip(found[name], reference, strict=True)) / PROMPTS,
            }
            for name, times in seconds.items()
        },
    }


def _clock(device: torch.device) -> float:
    """Of the whole process."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()
