"""Packed weights of decoders: the same tokens, the same weights afterwards, and only where the model stands them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from inference.decoders.opening import text_generation
from inference.decoders.packing import PackedLinear, pack, unpack
from inference.models.loading import Loaded, load
from tests.inference.step_engines import TEXTS, continuation, engine_of, run, said, watch


@pytest.fixture
def loaded(llama_folder: Path) -> Loaded:
    return load(llama_folder)


def read(weight: torch.Tensor) -> None:
    assert weight.dtype == torch.float32


def linear_layers(model: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in model.modules() if isinstance(layer, (nn.Linear, PackedLinear))]


@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_computes_what_the_layer_does(bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40, bias=bias)).requires_grad_(False)
    rows = torch.randn(2, 3, 24)
    wanted = model(rows)

    assert pack(model)

    assert linear_layers(model) == [PackedLinear]
    torch.testing.assert_close(model(rows), wanted)


def test_packing_says_the_same_tokens_and_is_undone(loaded: Loaded) -> None:
    model = copy.deepcopy(loaded.model)
    assert pack(model)
    said_by = []
    for one in (loaded.model, model):
        engine, _ = engine_of(loaded, one)
        seen = [watch(engine, continuation(loaded, text, 12))[0] for text in TEXTS]
        run(engine)
        said_by.append([said(answer) for answer in seen])

    unpack(model)

    assert said_by[0] == said_by[1]
    assert linear_layers(model) == linear_layers(loaded.model)
    assert model.state_dict().keys() == loaded.model.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in loaded.model.state_dict().items())


def test_other_precisions_keep_their_layers(loaded: Loaded) -> None:
    model = copy.deepcopy(loaded.model).to(torch.bfloat16)

    assert not pack(model)
    assert PackedLinear not in linear_layers(model)


def test_a_decoder_on_a_cpu_is_opened_with_packed_weights(loaded: Loaded) -> None:
    task = text_generation(loaded, {})

    assert task.description.name == "continuous"
    assert set(linear_layers(loaded.model)) == {PackedLinear}


def test_a_model_that_reads_a_layers_weights_keeps_them(loaded: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    loaded.model.register_forward_pre_hook(lambda model, _: read(model.lm_head.weight))

    task = text_generation(loaded, {})

    assert task.description.name == "continuous"
    assert set(linear_layers(loaded.model)) == {nn.Linear}
    assert "without packed weights" in caplog.text
