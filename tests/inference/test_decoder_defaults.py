"""A decoder's generation_config.json is followed in full, token by token as transformers' own `generate` does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from inference.batch.opening import task_for
from inference.decoders.settings import Decoding
from inference.errors import ModelBroken
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from tests.inference.llamas import byte_tokenizer

TEXTS = ["the quick brown fox", "a", "weather and music over a lazy dog while nobody looks", "über 😀"]


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that repeats itself and seldom ends."""
    folder = tmp_path_factory.mktemp("long")
    tokenizer = byte_tokenizer()
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.3, bos_token_id=0, eos_token_id=1,
        pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def with_defaults(long_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    def changed(**fields: Any) -> Path:
        folder = shutil.copytree(long_folder, tmp_path / "model")
        path = folder / "generation_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
        return folder

    return changed


def answers(folder: Path, **parameters: Any) -> tuple[list[str], str]:
    """Our texts, and what computed them."""
    pipeline = Pipeline(task_for(load(folder)))
    lines = [json.dumps({"inputs": text, "parameters": parameters}).encode() for text in TEXTS]
    found = [json.loads(line) for line in pipeline.answer_lines(lines).lines]
    assert [one for one in found if "error" in one] == []
    return [one["generated_text"] for one in found], pipeline.task.description.name


def reference(folder: Path, **parameters: Any) -> list[str]:
    """Transformers' texts, one prompt at a time."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    for text in TEXTS:
        tokens = tokenizer(text, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        with torch.no_grad():
            output = model.generate(**tokens, tokenizer=tokenizer, **parameters)
        found.append(tokenizer.decode(output[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": [5, 70, 80]},
        {"bad_words_ids": [[40], [41, 42]]},
        {"num_beams": 4},
        {"num_beams": 3, "length_penalty": 2.0, "early_stopping": True},
        {"min_new_tokens": 12},
        {"forced_eos_token_id": 1},
        {"stop_strings": ["e"]},
        {"begin_suppress_tokens": [3]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_each_default_is_followed_to_the_token(with_defaults: Callable[..., Path], fields: dict[str, Any]) -> None:
    folder = with_defaults(**fields)

    found, engine = answers(folder, max_new_tokens=16)

    assert engine == "generate"
    assert found == reference(folder, max_new_tokens=16)


def test_disabled_settings_keep_the_fast_engine(with_defaults: Callable[..., Path]) -> None:
    folder = with_defaults(num_beams=1, no_repeat_ngram_size=0, length_penalty=2.0, cache_implementation="static")

    found, engine = answers(folder, max_new_tokens=16)

    assert engine == "continuous"
    assert found == reference(folder, max_new_tokens=16, cache_implementation=None)


def test_a_text_is_drawn_alike_whoever_came_before(with_defaults: Callable[..., Path]) -> None:
    task = task_for(load(with_defaults(min_p=0.05, do_sample=True)))
    line = json.dumps({"inputs": TEXTS[0], "parameters": {"max_new_tokens": 12, "seed": 3}}).encode()
    other = json.dumps({"inputs": TEXTS[2], "parameters": {"max_new_tokens": 12}}).encode()

    alone = Pipeline(task).answer_lines([line]).lines[0]

    assert Pipeline(task).answer_lines([other, line]).lines[1] == alone


def test_details_carry_each_tokens_logarithm(with_defaults: Callable[..., Path]) -> None:
    task = task_for(load(with_defaults(no_repeat_ngram_size=2)))
    record = {"inputs": TEXTS[0], "parameters": {"max_new_tokens": 6, "details": True}}

    details = json.loads(Pipeline(task).answer_lines([json.dumps(record).encode()]).lines[0])["details"]

    assert details["generated_tokens"] == len(details["tokens"]) == 6
    assert details["finish_reason"] == "length"
    assert all(token["logprob"] < 0 for token in details["tokens"])


def test_a_model_that_keeps_a_state_is_answered_by_generate(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    torch.manual_seed(3)
    config = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=4, bos_token_id=0, eos_token_id=1,
        pad_token_id=2,
    )  # fmt: skip
    MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")

    found, engine = answers(tmp_path / "mamba", max_new_tokens=12)

    assert engine == "generate"
    assert found == reference(tmp_path / "mamba", max_new_tokens=12)


def test_a_default_length_beyond_the_reach_is_capped(with_defaults: Callable[..., Path]) -> None:
    found, _ = answers(with_defaults(max_new_tokens=2_048))

    assert all(found)


def test_a_default_of_the_whole_length_counts_the_prompt(with_defaults: Callable[..., Path]) -> None:
    folder = with_defaults(max_length=40)

    assert answers(folder)[0] == reference(folder)


def test_a_request_beyond_the_reach_is_still_refused(with_defaults: Callable[..., Path]) -> None:
    pipeline = Pipeline(task_for(load(with_defaults(max_new_tokens=2_048))))

    line = pipeline.answer_lines([json.dumps({"inputs": "a", "parameters": {"max_new_tokens": 500}}).encode()]).lines[0]

    assert "max_new_tokens: is 500" in json.loads(line)["error"]


def test_several_texts_for_a_prompt_are_refused_by_file_and_key(with_defaults: Callable[..., Path]) -> None:
    folder = with_defaults(num_return_sequences=2, num_beams=2)

    with pytest.raises(ModelBroken, match=r"generation_config\.json: num_return_sequences is above 1"):
        task_for(load(folder))


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"repetition_penalty": 101.0}, "repetition_penalty"), ({"do_sample": True, "top_k": 2_000_000}, "top_k")],
)
def test_a_default_out_of_range_is_refused_by_file_and_key(
    with_defaults: Callable[..., Path], fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(ModelBroken, match=rf"generation_config\.json: {name} must be"):
        task_for(load(with_defaults(**fields)))


def test_a_decoder_that_fails_on_a_first_text_is_refused_at_start(
    long_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(long_folder)

    def broken(*_: Any, **__: Any) -> Any:
        raise IndexError("no such row")

    monkeypatch.setattr(loaded.model, "forward", broken)

    with pytest.raises(ModelBroken, match="The model loads, and does not answer: the model fails on it: IndexError"):
        task_for(loaded)


def test_lengths_of_the_defaults_do_not_part_equal_requests() -> None:
    class Config:
        max_new_tokens, max_length = 7, None

    assert Decoding.of_model(Config()).max_new_tokens is None
