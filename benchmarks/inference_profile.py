"""Where the engine's time goes, and what this processor could do at most; part of benchmarks.inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from inference.engines.beams import Beams
from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder, TextByText
from inference.engines.huge_pages import HugePagePool
from inference.engines.search import Streams
from inference.engines.weights import Linear, Weights

PARTS: dict[str, tuple[type, str]] = {
    "encoder": (Encoder, "encode"),
    "keys and values of the input": (Decoder, "admit"),
    "steps": (Decoder, "step"),
    "choosing": (Streams, "choose"),
    "choosing beams": (Beams, "choose"),
}


def where(
    run: Callable[[], Any],
    parts: Mapping[str, tuple[type, str]] = PARTS,
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


@torch.inference_mode()
def least_encoder_seconds(weights: Weights, articles: Sequence[Sequence[int]]) -> dict[str, float]:
    """What the encoder's products and attention alone take, each at the best rate that one kernel reaches here."""
    side, layers, tokens = weights.encoder, weights.encoder_layers, sum(map(len, articles))
    numbers = sum(
        linear.weight.numel()
        for layer in layers
        for linear in (layer.attention.into, layer.attention.out, layer.feed_forward.into, layer.feed_forward.gate,
                       layer.feed_forward.out)
        if linear is not None
    )  # fmt: skip
    products = 2.0 * numbers * tokens
    attention = 4.0 * len(layers) * side.heads * side.head_size * sum(len(article) ** 2 for article in articles)
    wide = layers[0].feed_forward.into.weight
    linear, rows = Linear(wide, None, fused=True), torch.randn(1_024, wide.shape[1])
    product_rate = 2.0 * rows.shape[0] * wide.numel() / _best(lambda: linear(rows))
    length = max(map(len, articles))
    attend = TextByText(side, [length])
    projected = torch.randn(length, 3 * side.heads * side.head_size)
    attention_rate = 4.0 * side.heads * side.head_size * length**2 / _best(lambda: attend(projected))
    queries = torch.randn(1, side.heads, length, side.head_size)
    bare = _best(lambda: functional.scaled_dot_product_attention(queries, queries, queries))
    return {
        "product_gflop": products / 1e9,
        "product_gflop_per_s": product_rate / 1e9,
        "attention_gflop": attention / 1e9,
        "attention_gflop_per_s": attention_rate / 1e9,
        "attention_without_bias_gflop_per_s": 4.0 * queries.numel() * length / bare / 1e9,
        "seconds": products / product_rate + attention / attention_rate,
    }


@torch.inference_mode()
def least_decoder_seconds(
    weights: Weights, articles: Sequence[Sequence[int]], said: Sequence[int], product_gflop_per_s: float
) -> dict[str, float]:
    """The same of a greedy decoder: its products, and each layer's keys and values of the input, read for every token.

    `said`: how many tokens each article's summary has.
    """
    side, layers = weights.decoder, weights.decoder_layers
    once = sum(layer.cross.keys_values.weight.numel() for layer in layers)
    each = weights.head.weight.numel() + sum(
        linear.weight.numel()
        for layer in layers
        for linear in (layer.attention.into, layer.attention.out, layer.cross.query, layer.cross.out,
                       layer.feed_forward.into, layer.feed_forward.gate, layer.feed_forward.out)
        if linear is not None
    )  # fmt: skip
    products = 2.0 * (once * sum(map(len, articles)) + each * sum(said))
    token = 2 * side.heads * side.head_size * weights.dtype.itemsize * len(layers)
    read = float(token * sum(len(article) * count for article, count in zip(articles, said, strict=True)))
    table = HugePagePool().zeros((512, 1_008, 64), weights.dtype, weights.device)  # far more than any cache
    query = torch.ones(512, 1, 64, dtype=weights.dtype).transpose(1, 2)
    rate = table.nbytes / _best(lambda: torch.bmm(table, query))
    return {
        "product_gflop": products / 1e9,
        "read_gb": read / 1e9,
        "read_gb_per_s": rate / 1e9,
        "seconds": products / 1e9 / product_gflop_per_s + read / rate,
    }


def _best(run: Callable[[], Any], times: int = 30) -> float:
    found = []
    for _ in range(times):
        begun = time.thread_time()
        run()
        found.append(time.thread_time() - begun)
    return min(found)
