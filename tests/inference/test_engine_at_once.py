"""Pairs on a GPU: one kernel for texts of all lengths, which a CPU does not have; here one that computes text by text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from inference.engines import bart_pairs, cuda, nli
from inference.engines.bart_pairs import BartPairs
from inference.engines.encoder import Encoder
from inference.engines.nli import NliEngine
from inference.engines.weight_reading import read_weights
from tests.inference.test_bart_pairs import MODELS, bart, pairs
from tests.inference.test_engine_exact import bart as texts_bart


def by_text(query: Tensor, key: Tensor, value: Tensor, *given: Any, **named: Any) -> tuple[Tensor]:
    """The kernel's reference: (tokens, heads, head size), from the same and each text's begin and end."""
    arguments = torch.ops.aten._flash_attention_forward.default._schema.arguments
    names = [argument.name for argument in arguments if not argument.kwarg_only]
    asked = dict(zip(names, (query, key, value, *given), strict=True)) | named
    assert named.keys() <= {argument.name for argument in arguments}
    assert (asked["dropout_p"], asked["return_debug_mask"]) == (0.0, False)
    ends, known = asked["cum_seq_q"], asked["cum_seq_k"]
    for each, tokens, longest in ((ends, query, asked["max_q"]), (known, key, asked["max_k"])):
        assert each.dtype == torch.int32
        assert (int(each[0]), int(each[-1])) == (0, tokens.shape[0])
        assert longest == int(each.diff().max())
    assert (query.stride(-1), key.stride(-1), value.stride(-1)) == (1, 1, 1)
    found = query.new_empty(query.shape)
    for place in range(len(ends) - 1):
        mine, theirs = slice(ends[place], ends[place + 1]), slice(known[place], known[place + 1])
        asks, holds, says = (part.transpose(0, 1) for part in (query[mine], key[theirs], value[theirs]))
        attended = scaled_dot_product_attention(asks, holds, says, is_causal=asked["is_causal"], scale=asked["scale"])
        found[mine] = attended.transpose(0, 1)
    return (found,)


@pytest.mark.parametrize("name", MODELS)
def test_attention_at_once_is_attention_by_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "packed_attention", by_text)
    model = bart(**MODELS[name])
    asked = [pair.tokens for pair in pairs()]

    found = BartPairs(model, at_once=True).logits(asked)

    torch.testing.assert_close(found, BartPairs(model).logits(asked), rtol=1e-4, atol=1e-4)


def test_an_encoder_without_a_bias_attends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "packed_attention", by_text)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", bool)
    weights = read_weights(texts_bart(), dtype=torch.bfloat16, fused=False)

    encoder = cuda.cuda_encoder(weights)

    assert not isinstance(encoder, cuda.TiledEncoder)
    for one, other in zip(encoder.encode([(3, 4, 5), (6,)]), Encoder(weights).encode([(3, 4, 5), (6,)]), strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def test_a_batch_ahead_changes_speed_only_and_is_under_way_when_the_last_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def noted(numbers: Tensor) -> Callable[[], list[Any]]:
        done.append("asked")

        def read() -> list[Any]:
            done.append("read")
            return numbers.tolist()

        return read

    monkeypatch.setattr(nli, "fetched", noted)
    model, asked = bart(), pairs(6)
    found = [dict(NliEngine(model, token_budget=1, ahead=ahead).score(asked)) for ahead in (True, False)]

    assert done == ["asked", *["asked", "read"] * 5, "read", *["asked", "read"] * 6]
    ahead, plain = ([(one[i].contradiction, one[i].entailment) for i in range(6)] for one in found)
    assert ahead == plain


def test_a_batch_ahead_that_leaves_float16_is_computed_again_too(caplog: pytest.LogCaptureFixture) -> None:
    def large() -> PreTrainedModel:
        model = bart(init_std=0.1)
        with torch.no_grad():
            model.model.encoder.layers[0].fc1.weight.mul_(1e6).clamp_(-6e4, 6e4)
            model.model.encoder.layers[0].fc2.weight.mul_(1e2)
        return model

    asked = pairs(9)
    engine = NliEngine(large().half(), token_budget=40, ahead=True)
    found = dict(engine.score(asked))

    assert [one.error for one in found.values()] == [None] * 9
    expected = dict(NliEngine(large().half().bfloat16(), token_budget=40).score(asked))
    assert [found[place].entailment for place in range(9)] == [expected[place].entailment for place in range(9)]
    assert caplog.text.count("going on in bfloat16") == 1


class BartForSequenceClassification:
    """A model, in float32 on a CPU, that says that it is on a GPU, and in what."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._model, self.device, self.dtype = bart(), torch.device("cuda"), dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, input_ids: Any, **options: Any) -> Any:
        return self._model(input_ids=input_ids, **options)

    def to(self, dtype: torch.dtype) -> BartForSequenceClassification:
        return self


def on_gpu(dtype: torch.dtype) -> Any:
    return BartForSequenceClassification(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_gpu_computes_pairs_at_once_in_16_bits(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "packed_attention", by_text)

    found = bart_pairs.bart_pairs(on_gpu(dtype))

    assert found is not None
    assert found.logits([(0, 5, 2)]).shape == (1, 3)


def test_a_kernel_that_finds_something_else_is_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unseeing(query: Tensor, key: Tensor, value: Tensor, *given: Any, **named: Any) -> tuple[Tensor]:
        return (torch.zeros_like(query),)

    monkeypatch.setattr(cuda, "packed_attention", unseeing)

    assert NliEngine(on_gpu(torch.float16)).description.fallbacks == 1
    assert "apart from the model's own here" in caplog.text

    monkeypatch.setattr(cuda, "packed_attention", by_text)
    assert NliEngine(on_gpu(torch.float16)).description.facts.keys() == {"name", "device", "dtype"}


def test_float32_on_a_gpu_is_left_to_transformers() -> None:
    assert bart_pairs.bart_pairs(on_gpu(torch.float32)) is None


def test_a_gpu_without_that_kernel_pads_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def too_old(*given: Any, **named: Any) -> Tensor:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")

    monkeypatch.setattr(cuda, "packed_attention", too_old)

    assert bart_pairs.bart_pairs(on_gpu(torch.bfloat16)) is None
    assert "Pairs are padded" in caplog.text
    assert "Ampere" in caplog.text
