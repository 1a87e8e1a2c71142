"""The engine generates what `generate` generates, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedModel, T5Config, T5ForConditionalGeneration

from inference.engines import Prompt, weight_reading
from inference.engines.cuda import Graphs
from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder
from inference.engines.encoder_decoder import EncoderDecoderEngine, EngineConfig, text_engine
from inference.engines.generate import GenerateEngine
from inference.engines.weight_reading import read_weights
from inference.records.parameters import Generation

VOCABULARY = 64
SMALL = EngineConfig(encoder_tokens=60, rows=8)


def t5(**changes: Any) -> PreTrainedModel:
    torch.manual_seed(changes.pop("seed", 0))
    config = {
        "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
        "decoder_start_token_id": 0, "dropout_rate": 0.0, "initializer_factor": 3.0,
    }  # fmt: skip
    model = T5ForConditionalGeneration(T5Config(**{**config, **changes}))
    # Ends become likely enough to come at different steps, and padding is never said.
    with torch.no_grad():
        model.lm_head.weight[1] *= 2
        model.lm_head.weight[0] = 0
    return ready(model)


def bart(**changes: Any) -> PreTrainedModel:
    torch.manual_seed(changes.pop("seed", 0))
    config = {
        "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 40, "encoder_attention_heads": 4, "decoder_attention_heads": 2, "init_std": 0.4,
        "max_position_embeddings": 64, "dropout": 0.0, "forced_eos_token_id": None,
    }  # fmt: skip
    model = BartForConditionalGeneration(BartConfig(**{**config, **changes}))
    with torch.no_grad():
        model.final_logits_bias[0] = torch.randn(VOCABULARY)
        model.final_logits_bias[0, model.config.eos_token_id] = 4
    return ready(model)


def ready(model: PreTrainedModel) -> PreTrainedModel:
    model.generation_config.max_length = None
    return model.eval()


def prompts(count: int = 14, longest: int = 40, **settings: Any) -> list[Prompt]:
    chance = torch.Generator().manual_seed(3)
    wanted = Generation(**{"max_new_tokens": 14, **settings})
    found = []
    for key in range(count):
        length = int(torch.randint(1, longest, (), generator=chance))
        tokens = torch.randint(3, VOCABULARY, (length,), generator=chance).tolist()
        found.append(Prompt((*tokens, 1), wanted, key))
    return found


def sequences(engine: Any, asked: Sequence[Prompt]) -> list[tuple[tuple[int, ...], ...]]:
    found = dict(engine.generate(asked))
    assert all(result.error is None for result in found.values())
    return [found[index].sequences for index in range(len(asked))]


def own(
    model: PreTrainedModel, config: EngineConfig = SMALL, graphs: Callable[[Decoder], Graphs] | None = None
) -> EncoderDecoderEngine:
    engine = text_engine(model)
    assert isinstance(engine, EncoderDecoderEngine)
    return EncoderDecoderEngine(model, engine.rules, config=config, graphs=graphs)


MODELS = {
    "t5": lambda: t5(),
    "t5, gated, untied": lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "t5, gated by silu": lambda: t5(feed_forward_proj="gated-silu"),
    "t5, odd heads": lambda: t5(num_heads=3, d_kv=7, num_layers=3, num_decoder_layers=1),
    "t5, near and far": lambda: t5(relative_attention_num_buckets=8, relative_attention_max_distance=12),
    "bart": lambda: bart(),
    "bart, scaled, relu": lambda: bart(
        tie_word_embeddings=False, scale_embedding=True, activation_function="relu", decoder_layers=3
    ),
    "bart, one head": lambda: bart(tie_word_embeddings=False, encoder_attention_heads=1, decoder_attention_heads=8),
}  # fmt: skip
SETTINGS: list[dict[str, Any]] = [
    {},
    {"max_new_tokens": 1},
    {"max_length": 6, "max_new_tokens": None},
    {"no_repeat_ngram_size": 2},
    {"num_beams": 4},
    {"num_beams": 4, "early_stopping": True, "num_return_sequences": 3},
    {"num_beams": 3, "early_stopping": "never", "no_repeat_ngram_size": 1},
    {"do_sample": True, "temperature": 1.5},
    {"do_sample": True, "top_k": 5, "top_p": 0.8, "num_return_sequences": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_generate(name: str, settings: dict[str, Any]) -> None:
    model = MODELS[name]()
    asked = prompts(**settings)
    engine = own(model)

    found = sequences(engine, asked)

    assert found == sequences(GenerateEngine(model), asked)
    assert engine.description.name == "encoder-decoder"


@pytest.mark.parametrize("name", MODELS)
def test_models_say_different_things_of_different_lengths(name: str) -> None:
    """Without that, the tests here would see neither a wrong text nor a slot that is refilled."""
    found = sequences(GenerateEngine(MODELS[name]()), prompts())

    assert len(set(found)) >= 4
    assert len({len(texts[0]) for texts in found}) >= 2


CONFIGS: dict[str, dict[str, Any]] = {
    "one text a batch, one slot": {"encoder_tokens": 1, "rows": 1},
    "all at once": {"encoder_tokens": 10_000, "rows": 1_000},
    "more rows of beams": {"beam_rows": 24},
    "a step ahead": {"ahead": True},
}


@pytest.mark.parametrize("changes", CONFIGS)
@pytest.mark.parametrize("name", ["t5, gated, untied", "bart"])
def test_a_configuration_changes_speed_only(name: str, changes: str) -> None:
    model = MODELS[name]()
    asked = prompts() + prompts(num_beams=3, num_return_sequences=2) + prompts(do_sample=True, num_return_sequences=2)

    assert sequences(own(model, replace(SMALL, **CONFIGS[changes])), asked) == sequences(own(model), asked)


@pytest.mark.parametrize("name", ["t5", "t5, gated by silu", "bart, scaled, relu"])
def test_unfused_products_know_each_activation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[name]()
    expected = sequences(own(model), prompts())
    monkeypatch.setattr(weight_reading, "can_fuse", lambda device, dtype: False)

    assert sequences(own(model), prompts()) == expected


def test_weights_of_another_family_are_not_read() -> None:
    # It lays its weights out as T5 does, and may compute anything.
    model = type("Cousin", (T5ForConditionalGeneration,), {})(t5().config)

    assert isinstance(text_engine(model), GenerateEngine)
    with pytest.raises(ValueError, match="Cousin is not of a family"):
        read_weights(model)


GENERATION_SETTINGS: list[dict[str, Any]] = [
    {"forced_bos_token_id": 5, "forced_eos_token_id": 1},
    {"min_length": 7, "length_penalty": 2.0},
    {"min_new_tokens": 4, "length_penalty": -1.0},
    {"eos_token_id": [1, 2, 9]},
]


@pytest.mark.parametrize("settings", GENERATION_SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_the_models_own_settings_are_used(name: str, settings: dict[str, Any]) -> None:
    model = MODELS[name]()
    for field, value in settings.items():
        setattr(model.generation_config, field, value)
    asked = prompts() + prompts(num_beams=3, no_repeat_ngram_size=2) + prompts(num_beams=3, early_stopping="never")

    assert sequences(own(model), asked) == sequences(GenerateEngine(model), asked)


def test_generate_is_used_with_a_log_line_for_unsupported_settings() -> None:
    model = t5()
    engine = own(model)
    asked = prompts(4, num_beams=2, do_sample=True) + prompts(4)

    assert sequences(engine, asked) == sequences(GenerateEngine(model), asked)
    assert engine.description.name == "encoder-decoder+generate"


def test_only_the_plain_path_is_said_where_it_did_everything() -> None:
    engine = own(t5())
    sequences(engine, prompts(2, num_beams=2, do_sample=True))

    assert engine.description.name == "generate"


def test_models_that_ask_for_more_get_the_plain_path() -> None:
    model = t5()
    model.generation_config.repetition_penalty = 1.2

    assert isinstance(text_engine(model), GenerateEngine)


def test_a_text_beyond_the_last_position_is_left_to_generate() -> None:
    engine = own(bart())

    assert not engine.does(Prompt((5,) * 65, Generation(max_new_tokens=3), 0))
    assert not engine.does(Prompt((5,), Generation(max_new_tokens=65), 0))
    assert engine.does(Prompt((5,) * 64, Generation(max_new_tokens=64), 0))


def test_running_out_of_memory_leaves_the_rest_to_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = t5()
    engine = own(model)
    encode, calls = Encoder.encode, []

    def little_memory(encoder: Encoder, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        calls.append(texts)
        if len(calls) == 7:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(encoder, texts)

    monkeypatch.setattr(Encoder, "encode", little_memory)

    assert sequences(engine, prompts()) == sequences(GenerateEngine(model), prompts())
    assert engine.description.name == "encoder-decoder+generate"


def test_running_out_of_memory_with_many_rows_goes_on_with_half_as_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = t5()
    engine = own(model, EngineConfig(encoder_tokens=200, rows=40, beam_rows=64))
    encode, calls = Encoder.encode, []

    def little_memory(encoder: Encoder, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        calls.append(sum(map(len, texts)))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(encoder, texts)

    monkeypatch.setattr(Encoder, "encode", little_memory)
    asked = prompts(20) + prompts(4, num_beams=2)

    assert sequences(engine, asked) == sequences(GenerateEngine(model), asked)
    assert engine.description.name == "encoder-decoder"
    assert max(calls[2:]) <= 100 < calls[0]
    assert "goes on with 20 rows" in caplog.text


def test_short_inputs_have_more_rows_for_the_same_memory() -> None:
    config = EngineConfig(1_024, 32, beam_rows=128)

    assert [config.rows_for(longest, beams=False) for longest in (1, 512, 513, 5_000)] == [32, 32, 16, 16]
    assert [config.rows_for(longest, beams=True) for longest in (100, 1_024)] == [128, 64]
    fewer = config.halved()
    assert fewer == EngineConfig(512, 16, beam_rows=64)
    assert fewer.halved() is None


def test_half_precision_says_nearly_the_same() -> None:
    model = t5()
    exact = sequences(own(model), prompts())
    half = sequences(own(model, replace(SMALL, dtype=torch.bfloat16)), prompts())

    assert sum(one == other for one, other in zip(exact, half, strict=True)) >= len(exact) // 2
