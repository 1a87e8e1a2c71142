"""Tables of the engine: what lies in large pages, and what stays where when a table changes its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engines import Prompt
from inference.engines.cross_attention import CrossAttentionCache, EncoderOutputCache, KeyValueCache
from inference.engines.encoder_decoder import EngineConfig
from inference.engines.huge_pages import HugePagePool
from inference.engines.weight_reading import read_weights
from inference.engines.weights import Weights
from inference.records.parameters import Generation
from tests.inference.test_engine_exact import bart, own, sequences, t5

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(3, 5), (9, 1_024, 513)], ids=str)
def test_a_table_comes_empty_and_can_be_written(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    table = HugePagePool().zeros(shape, dtype, CPU)

    assert (table.shape, table.dtype, table.is_contiguous()) == (shape, dtype, True)
    assert not table.any()
    table[-1] = 1
    assert int(table.sum(dtype=torch.float64)) == table[0].numel()


def test_a_large_table_begins_with_a_large_page() -> None:
    assert HugePagePool().zeros((3, 1_024, 1_024), torch.float32, CPU).data_ptr() % (2 << 20) == 0


def test_a_table_that_does_not_fit_says_so() -> None:
    with pytest.raises(MemoryError, match="does not fit into memory"):
        HugePagePool().zeros((1 << 60,), torch.float32, CPU)


def test_the_next_table_gets_the_smallest_piece_that_it_fits_into_empty() -> None:
    pages = HugePagePool()
    tables = [pages.zeros((4, megabytes, 1_024, 256), torch.float32, CPU).fill_(7) for megabytes in (4, 2, 3)]
    places = [table.data_ptr() for table in tables]
    for table in tables:
        pages.take_back(table)

    smallest, next_one = (pages.zeros((2, 3, 1_024, 512), torch.bfloat16, CPU) for _ in range(2))
    new = pages.zeros((5, 4, 1_024, 256), torch.float32, CPU)

    assert [smallest.data_ptr(), next_one.data_ptr()] == [places[1], places[2]]
    assert new.data_ptr() not in places
    assert not smallest.any()
    assert not next_one.any()


def test_a_run_leaves_its_memory_to_the_next() -> None:
    model = t5(d_model=256, d_kv=64, num_heads=4)
    engine = own(model, EngineConfig(encoder_tokens=600, rows=8))
    asked = [Prompt((*range(3, 60),) * 10, Generation(max_new_tokens=3), key) for key in range(8)]
    first = sequences(engine, asked)
    kept = sorted(piece.data_ptr() for piece in engine._pages._kept)

    assert sequences(engine, asked) == first
    assert kept
    assert sorted(piece.data_ptr() for piece in engine._pages._kept) == kept


def looked(weights: Weights, sources: CrossAttentionCache, slots: Sequence[int], width: int) -> list[Tensor]:
    """What each of these slots' texts see in the second layer."""
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
                sources = kind(weights, 4, path[0], HugePagePool())
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
        sources = kind(weights, 4, 30, HugePagePool())
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
