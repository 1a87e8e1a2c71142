"""The GPU's encoder, as far as a CPU can run it: texts packed in tiles, and one kernel for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engines import cuda
from inference.engines.cuda import FlexAttention, TiledEncoder, attend, compiled, cuda_encoder
from inference.engines.encoder import Encoder
from inference.engines.weight_reading import read_weights
from tests.inference.test_engine_exact import bart, t5

LENGTHS = [[5], [130, 1, 40], [128, 128], [256], [7] * 40]
UNCOMPILED = pytest.mark.filterwarnings("ignore:(?s).*flex_attention called without torch.compile")


@UNCOMPILED
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("make", [t5, bart])
def test_one_kernel_for_all_texts_attends_as_one_call_a_text(make: Callable[..., Any], lengths: Sequence[int]) -> None:
    weights = read_weights(make() if make is t5 else make(max_position_embeddings=256))
    texts = some_texts(lengths)

    together = TiledEncoder(weights, attend).encode(texts)

    assert len(together) == len(texts)
    for one, other in zip(together, Encoder(weights).encode(texts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@UNCOMPILED
def test_padding_of_the_last_tile_is_no_longer_than_a_text_may_be() -> None:
    """BART knows no position beyond; a GPU would stop at it."""
    weights = read_weights(bart(max_position_embeddings=40))

    assert [len(rows) for rows in TiledEncoder(weights, attend).encode(some_texts([5, 40]))] == [5, 40]


def some_texts(lengths: Sequence[int]) -> list[list[int]]:
    chance = torch.Generator().manual_seed(1)
    return [torch.randint(3, 60, (length,), generator=chance).tolist() for length in lengths]


@pytest.mark.parametrize("make", [t5, bart])
def test_batches_of_all_lengths_share_one_compilation(make: Callable[..., Any]) -> None:
    """Also where another model's sizes and numbers came before, as they do here from one case to the next."""
    compilations = []

    def counting(graph: Any, inputs: Any) -> Any:
        compilations.append(graph)
        return graph.forward

    weights = read_weights(make() if make is t5 else make(max_position_embeddings=256))
    encoder = TiledEncoder(weights, compiled(counting))

    found = {tuple(lengths): encoder.encode(some_texts(lengths)) for lengths in LENGTHS}

    assert len(compilations) == 1
    for lengths, rows in found.items():
        torch.testing.assert_close(rows, Encoder(weights).encode(some_texts(lengths)), rtol=1e-4, atol=1e-4)


@pytest.fixture(autouse=True)
def cudnn(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record switches of cuDNN's attention in place of switching it for all later tests."""
    switched: list[bool] = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", switched.append)
    return switched


def test_a_kernel_that_can_be_compiled_is_used(monkeypatch: pytest.MonkeyPatch, cudnn: list[bool]) -> None:
    monkeypatch.setattr(cuda, "compiled", lambda: lambda parts, *_: parts[:, :, 0].flatten(0, 1).flatten(1))

    assert isinstance(cuda_encoder(read_weights(t5())), TiledEncoder)
    assert cudnn == [False]


def test_without_a_kernel_the_encoder_works_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any) -> Tensor:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(cuda, "compiled", lambda: failing)

    encoder = cuda_encoder(read_weights(t5()))

    assert [len(rows) for rows in encoder.encode([(3, 4), (5,)])] == [2, 1]
    assert "attends text by text" in caplog.text
    assert "Failed to find C compiler." in caplog.text


def test_a_tile_of_queries_looks_at_the_tiles_of_its_texts_only() -> None:
    side, tiles = read_weights(t5()).encoder, list[tuple[Tensor, Tensor]]()

    def kernel(parts: Tensor, owners: Tensor, counts: Tensor, places: Tensor, *_: Any) -> Tensor:
        tiles.append((counts[0, 0], places[0, 0]))
        return parts

    FlexAttention(kernel, side, [130, 100, 300, 110])(torch.zeros(640, 3 * side.heads * side.head_size))

    [(counts, places)] = tiles
    looked = [places[tile, :count].tolist() for tile, count in enumerate(counts.tolist())]
    # Texts end after 130, 230, 530 and 640 tokens, so in tiles 1, 1, 4 and 4.
    assert looked == [[0, 1], [0, 1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]
