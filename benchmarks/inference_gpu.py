"""Measure an H200 by shapes with random weights and fixed lengths; part of benchmarks.inference.

Alone, in about three minutes: `python -m benchmarks.inference_gpu`. The limits are computed: 790 TFLOP/s in bf16 and 4.5 TB/s,
encoding and decoding in series.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import BartConfig, BartForSequenceClassification, T5Config, T5ForConditionalGeneration

from inference.engines import Pair, Prompt
from inference.engines.cuda import Graphs
from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder
from inference.engines.encoder_decoder import EncoderDecoderEngine, EngineConfig, text_engine
from inference.engines.nli import NliEngine
from inference.engines.search import Rules, TokenSearch
from inference.records.parameters import Generation

ARTICLES_PER_S, PAIRS_PER_S = 735, 11_200
_BY = 4  # rows in one of Hugging Face's batches
_PARTS: dict[str, tuple[type, str]] = {
    "encoder": (Encoder, "encode"),
    "into the table": (Decoder, "admit"),
    "steps": (Graphs, "__call__"),
    "choosing": (TokenSearch, "choose"),
}
_CONFIGS: dict[str, dict[str, Any]] = {"no step ahead": {"ahead": False}, "512 rows": {"rows": 512}}


@dataclass(frozen=True, slots=True)
class Work:
    """Two models' shapes, and their input."""

    texts: dict[str, Any]
    labels: dict[str, Any]
    articles: int
    tokens_in: int
    tokens_out: int
    pairs: int
    pair_tokens: int
    compared: int  # rows that Hugging Face computes


# flan-t5-large and bart-large-mnli.
LARGE = Work(
    texts={"vocab_size": 32_128, "d_model": 1_024, "d_kv": 64, "d_ff": 2_816, "num_layers": 24, "num_heads": 16},
    labels={},
    articles=2_048,
    tokens_in=600,
    tokens_out=50,
    pairs=16_384,
    pair_tokens=100,
    compared=16,
)


def measure(work: Work = LARGE, device: str = "cuda") -> dict[str, Any]:
    """Rows a second, the share of the computed limit, and how many times Hugging Face's in batches of 4."""
    texts, labels = _models(work, device)
    chance = torch.Generator().manual_seed(0)
    articles = torch.randint(3, texts.config.vocab_size, (work.articles, work.tokens_in), generator=chance)
    rows = torch.randint(3, labels.config.vocab_size, (work.pairs, work.pair_tokens), generator=chance)
    rows[:, -1] = labels.config.eos_token_id  # BART reads its class where the text ends
    settings = Generation(max_new_tokens=work.tokens_out)
    prompts = [Prompt(tuple(article), settings, key) for key, article in enumerate(articles.tolist())]
    pairs = [Pair(tuple(row), None) for row in rows.tolist()]
    engine, classifier = text_engine(texts), NliEngine(labels)
    assert isinstance(engine, EncoderDecoderEngine)
    clock = _Clock(device)

    def plainly(batch: Tensor) -> None:
        texts.generate(batch, attention_mask=torch.ones_like(batch), max_new_tokens=work.tokens_out, do_sample=False)

    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "articles": clock.compared(
            lambda: list(engine.generate(prompts)), work.articles, ARTICLES_PER_S, plainly, articles[: work.compared]
        )
        | {
            "tokens": sum(len(result.sequences[0]) for _, result in engine.generate(prompts)),
            "attention": type(engine._encoder).__name__,
            "steps_recorded": len(engine._kept[1].recorded) if engine._kept else 0,
            # It waits after each part, and so is slower.
            "seconds": where(lambda: list(engine.generate(prompts)), _PARTS, clock.now),
            "configs_per_s": {
                name: _with(changes, texts, engine.rules, prompts, clock) for name, changes in _CONFIGS.items()
            },
        },
        "pairs": clock.compared(
            lambda: list(classifier.score(pairs)),
            work.pairs,
            PAIRS_PER_S,
            lambda batch: labels(input_ids=batch),
            rows[: work.compared],
        ),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }


def _with(changes: dict[str, Any], texts: Any, rules: Rules, prompts: Sequence[Prompt], clock: _Clock) -> float:
    """Texts a second with another configuration."""
    gc.collect()  # the last one's tables
    engine = EncoderDecoderEngine(texts, rules, config=replace(EngineConfig.of(texts.device), **changes))
    list(engine.generate(prompts))
    return len(prompts) / clock.seconds(lambda: list(engine.generate(prompts)))


def where(
    run: Callable[[], Any],
    parts: Mapping[str, tuple[type, str]],
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, float]:
    """Seconds by `clock` in each of `parts` in one run, by default CPU seconds of this thread, and in all that is in none."""
    spent = dict.fromkeys(parts, 0.0)
    with _timed(parts, clock, spent):
        begun = clock()
        run()
        whole = clock() - begun
    found = {name: seconds for name, seconds in spent.items() if seconds}
    return {**found, "the rest": whole - sum(spent.values()), "whole": whole}


@contextmanager
def _timed(
    parts: Mapping[str, tuple[type, str]], clock: Callable[[], float], spent: dict[str, float]
) -> Iterator[None]:
    plain = {name: getattr(kind, method) for name, (kind, method) in parts.items()}

    def timed(name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            begun = clock()
            try:
                return plain[name](*given, **named)
            finally:
                spent[name] += clock() - begun

        return call

    for name, (kind, method) in parts.items():
        setattr(kind, method, timed(name))
    try:
        yield
    finally:
        for name, (kind, method) in parts.items():
            setattr(kind, method, plain[name])


def _models(work: Work, device: str) -> tuple[Any, Any]:
    """Made where they are used, texts' in bfloat16 and labels' in float16, as the service loads them on a GPU."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            texts = T5ForConditionalGeneration(
                T5Config(
                    feed_forward_proj="gated-gelu", decoder_start_token_id=0, tie_word_embeddings=False, **work.texts
                )
            )
            labels = BartForSequenceClassification(
                BartConfig(
                    id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
                    label2id={"contradiction": 0, "neutral": 1, "entailment": 2}, num_labels=3, **work.labels,
                )
            )  # fmt: skip
    finally:
        torch.set_default_dtype(torch.float32)
    # Never the best of all tokens, so that each text has its full length.
    texts.lm_head.weight.data[texts.config.eos_token_id] = 0
    return texts.eval(), labels.half().eval() if device == "cuda" else labels.eval()


class _Clock:
    """Wall time, with all that a device still has to do."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None

    def now(self) -> float:
        self._wait()
        return time.perf_counter()

    def seconds(self, run: Callable[[], Any]) -> float:
        begun = self.now()
        run()
        return self.now() - begun

    def compared(
        self, run: Callable[[], Any], count: int, limit: float, plainly: Callable[[Tensor], Any], rows: Tensor
    ) -> dict[str, float]:
        """`run` over `count` rows, and Hugging Face over `rows` of the same."""
        first = self.seconds(run)  # kernels are compiled
        per_s = count / self.seconds(run)
        batches = torch.split(rows.to(self._device), _BY)
        with torch.inference_mode():
            plainly(batches[0])
            theirs_per_s = len(rows) / self.seconds(lambda: [plainly(batch) for batch in batches])
        return {
            "per_s": per_s, "share_of_limit": per_s / limit, "first_run_s": first,
            "hugging_face_per_s": theirs_per_s, "ratio": per_s / theirs_per_s,
        }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
