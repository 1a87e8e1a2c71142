"""Caches of the inputs: both kinds see the same, and keep what they hold when they change their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engines.cross_attention import CrossAttentionCache, EncoderOutputCache, KeyValueCache
from inference.engines.weight_reading import read_weights
from inference.engines.weights import Weights
from tests.inference.test_engine_exact import bart, t5


def looked(weights: Weights, sources: CrossAttentionCache, slots: Sequence[int], width: int) -> list[Tensor]:
    """Return the second layer's cross attention of each slot's text."""
    rows = torch.randn(4 * width, weights.width, generator=torch.Generator().manual_seed(5)).to(weights.dtype)
    found = sources.look(1, weights.decoder_layers[1].cross, rows, 4, sources.longest).view(4, width, -1)
    return [found[slot] for slot in slots]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", [t5, bart])
def test_both_ways_of_keeping_inputs_see_the_same_whatever_their_size(
    make: Any, dtype: torch.dtype, width: int
) -> None:
    """Inputs of 9, 40 and 64 tokens, in tables that are as large as they need be, larger, shrunk and enlarged."""
    weights = read_weights(make(), dtype=dtype)
    inputs = [(0.2 * torch.randn(length, weights.width)).to(dtype) for length in (9, 40, 64, 9)]
    found = []
    for kind in (EncoderOutputCache, KeyValueCache):
        for path in ((64,), (300,), (300, 64), (64, 300)):
            with torch.inference_mode():
                sources = kind(weights, 4, path[0])
                for slot, encoded in enumerate(inputs):
                    sources.admit(slot, encoded)
                for longest in path[1:]:
                    sources.resize(4, longest)
                assert sources.longest >= path[-1]
                found.append(looked(weights, sources, range(4), width))

    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert not torch.allclose(found[0][0], found[0][1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [EncoderOutputCache, KeyValueCache])
def test_a_moved_input_is_seen_from_its_new_slot(kind: type[EncoderOutputCache] | type[KeyValueCache]) -> None:
    weights = read_weights(t5())
    encoded = torch.randn(30, weights.width)
    with torch.inference_mode():
        sources = kind(weights, 4, 30)
        for slot in range(4):
            sources.admit(slot, encoded if slot == 3 else encoded[: 5 + slot].neg())
        rows = torch.randn(1, weights.width).expand(4, -1)
        before = sources.look(0, weights.decoder_layers[0].cross, rows, 4, sources.longest)
        sources.move(3, 1)
        after = sources.look(0, weights.decoder_layers[0].cross, rows, 4, sources.longest)

    assert not torch.equal(before[1], before[3])
    torch.testing.assert_close(after[1], before[3])
    torch.testing.assert_close(after[2], before[2])


@pytest.mark.parametrize("length", [1, 2, 40])
def test_keys_from_last_to_first_have_the_same_distances(length: int) -> None:
    distances = read_weights(t5(relative_attention_max_distance=12)).encoder.distances
    assert distances is not None
    places = torch.arange(length)
    wanted = distances.from_last(places, length).transpose(0, 1)  # (heads, queries, keys)

    assert torch.equal(distances.mirrored(length), wanted.flip(2))
