"""What an H200 should reach, by shapes with random weights and fixed lengths; part of benchmarks.inference.

The limits are computed: 790 TFLOP/s in bf16 and 4.5 TB/s, encoding and decoding in series.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import BartConfig, BartForSequenceClassification, T5Config, T5ForConditionalGeneration

from inference.engines import Pair, Prompt
from inference.engines.encoder_decoder import text_engine
from inference.engines.nli import NliEngine
from inference.parameters import Generation

ARTICLES, TOKENS_IN, TOKENS_OUT, ARTICLES_PER_S = 2_048, 600, 50, 735
PAIRS, PAIR_TOKENS, PAIRS_PER_S = 16_384, 100, 11_200


def measure() -> dict[str, Any]:
    """Records a second and the share of the computed limit."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            texts = T5ForConditionalGeneration(
                T5Config(
                    vocab_size=32_128, d_model=1_024, d_kv=64, d_ff=2_816, num_layers=24, num_heads=16,
                    feed_forward_proj="gated-gelu", decoder_start_token_id=0,
                )
            ).eval()  # fmt: skip
            labels = BartForSequenceClassification(
                BartConfig(
                    id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
                    label2id={"contradiction": 0, "neutral": 1, "entailment": 2}, num_labels=3,
                )
            ).eval()  # fmt: skip
    finally:
        torch.set_default_dtype(torch.float32)
    texts.generation_config.min_new_tokens = TOKENS_OUT
    chance = torch.Generator().manual_seed(0)
    settings = Generation(max_new_tokens=TOKENS_OUT)
    prompts = [
        Prompt(tuple(torch.randint(3, 32_000, (TOKENS_IN,), generator=chance).tolist()), settings, key)
        for key in range(ARTICLES)
    ]
    rows = torch.randint(3, 50_000, (PAIRS, PAIR_TOKENS), generator=chance)
    rows[:, -1] = 2  # BART reads its class where the text ends
    pairs = [Pair(tuple(row), None) for row in rows.tolist()]
    engine, classifier = text_engine(texts), NliEngine(labels)
    return {
        "device": torch.cuda.get_device_name(),
        "articles": _rate(lambda: list(engine.generate(prompts)), ARTICLES, ARTICLES_PER_S),
        "pairs": _rate(lambda: list(classifier.score(pairs)), PAIRS, PAIRS_PER_S),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(),
    }


def _rate(run: Any, count: int, limit: float) -> dict[str, float]:
    run()  # kernels are compiled and graphs recorded
    torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    torch.cuda.synchronize()
    per_s = count / (time.perf_counter() - begun)
    return {"per_s": per_s, "share_of_limit": per_s / limit}
