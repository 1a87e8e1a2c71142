"""What a GPU runs, as far as a CPU can run it: the same results, and each line executed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engines import encoder_decoder
from inference.engines.cuda import FlexAttention, Graphs
from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder
from inference.engines.families import read_weights
from tests.inference.test_engine_exact import MODELS, bart, own, prompts, sequences, t5


class Rerun:
    """Stands in for a CUDA graph: runs the step again, into the memory of the first time."""

    def __init__(self, step: Callable[[], Tensor], output: Tensor) -> None:
        self._step, self._output = step, output

    def replay(self) -> None:
        self._output.copy_(self._step())


def rerunning(step: Callable[[], Tensor]) -> tuple[Rerun, Tensor]:
    with torch.inference_mode():
        output = step()
    return Rerun(step, output), output


class Recorded(Graphs):
    """Graphs that remember their sizes."""

    sizes: list[tuple[int, int, int]]

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder, rerunning)
        self.sizes = list(self._recorded)

    @torch.inference_mode()
    def __call__(self, count: int, keys: int, sources: int) -> Tensor:
        return super().__call__(count, keys, sources)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}], ids=str)
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_recorded_steps_generate_the_same(name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = MODELS[name](), prompts(**settings)
    expected = sequences(own(model), asked)
    engine = own(model)
    monkeypatch.setattr(engine, "_on_cuda", True)
    monkeypatch.setattr(encoder_decoder, "Graphs", Recorded)

    assert sequences(engine, asked) == expected


def test_few_sizes_are_recorded() -> None:
    weights = read_weights(t5())
    decoder = Decoder(weights, 16, 1, longest_source=20, reach=40)
    graphs = Graphs(decoder, rerunning)
    decoder.admit(0, torch.zeros(20, weights.width))

    with torch.inference_mode():
        shapes = [tuple(graphs(count, 32, 20).shape) for count in (9, 10, 16, 16, 3)]

    assert shapes == [(count, 1, 64) for count in (9, 10, 16, 16, 3)]
    assert len(graphs._recorded) == 2


@pytest.mark.filterwarnings("ignore:(?s).*flex_attention called without torch.compile")
@pytest.mark.parametrize("lengths", [[5], [130, 1, 40], [128, 128], [7] * 40], ids=str)
@pytest.mark.parametrize("make", [t5, bart])
def test_one_kernel_for_all_texts_attends_as_one_call_a_text(make: Callable[[], Any], lengths: Sequence[int]) -> None:
    model = make() if make is t5 else bart(max_position_embeddings=200)
    weights = read_weights(model)
    chance = torch.Generator().manual_seed(1)
    texts = [torch.randint(3, 60, (length,), generator=chance).tolist() for length in lengths]

    together = Encoder(weights, FlexAttention.plain()).encode(texts)

    for one, other in zip(together, Encoder(weights).encode(texts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_the_compiled_kernel_is_prepared_once_and_told_of_each_batch() -> None:
    side, make = read_weights(t5()).encoder, FlexAttention.compiled()

    one, other = make(side, [5, 3]), make(side, [130])

    assert isinstance(one, FlexAttention)
    assert isinstance(other, FlexAttention)
    assert one._attend is other._attend
    assert (one._filled, other._filled) == (128, 256)


def test_a_tile_of_queries_looks_at_the_tiles_of_its_texts_only() -> None:
    side = read_weights(t5()).encoder
    attention = FlexAttention(lambda *_, **__: None, side, [130, 100, 300])

    counts, places = attention._mask.kv_num_blocks[0, 0], attention._mask.kv_indices[0, 0]

    looked = [places[tile, :count].tolist() for tile, count in enumerate(counts.tolist())]
    # Texts end after 130, 230 and 530 tokens, so in tiles 1, 1 and 4; the filling ends tile 4.
    assert looked == [[0, 1], [0, 1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]
