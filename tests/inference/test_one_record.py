"""One record never ends a job or changes another's answer, whatever the model does with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BigBirdPegasusConfig,
    BigBirdPegasusForConditionalGeneration,
    FNetConfig,
    FNetForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from inference.batch.opening import task_for
from inference.errors import ModelBroken
from inference.models.loading import load
from inference.models.tokenizing import Encoder
from inference.records.requests import InferenceRequest
from inference.tasks.pipeline import Pipeline
from inference.tasks.tasks import Answer
from tests.inference.conftest import CLASSES, tokenizer_of
from tests.inference.samples import sentences


def t5_tokenizer() -> Any:
    return tokenizer_of(["<pad>", "</s>", "<unk>"], single="$A </s>")


def saved(model: Any, tokenizer: Any, folder: Path, **defaults: Any) -> Path:
    for name, value in defaults.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def answered(pipeline: Pipeline, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in pipeline.answer_lines([json.dumps(one).encode() for one in records]).lines]


def reference(folder: Path, text: str, **parameters: Any) -> list[str]:
    """A fresh model's own answer."""
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    limit = Encoder(tokenizer, model).longest
    tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
    with torch.inference_mode():
        return list(tokenizer.batch_decode(model.generate(**tokens, **parameters), skip_special_tokens=True))


@pytest.fixture(scope="module")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RoBERTa's positions begin behind its padding token, and nothing in the tokenizer tells how far they reach."""
    tokenizer = tokenizer_of(["<s>", "<pad>", "</s>", "<unk>"], single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>")
    tokenizer.model_max_length = 10**30
    torch.manual_seed(2)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
        id2label=CLASSES, label2id={name: place for place, name in CLASSES.items()},
    )  # fmt: skip
    return saved(RobertaForSequenceClassification(config), tokenizer, tmp_path_factory.mktemp("roberta"))


def test_a_text_beyond_robertas_positions_is_cut_to_their_reach(roberta_folder: Path) -> None:
    loaded = load(roberta_folder)
    long = " ".join(sentences(40))

    found = answered(Pipeline(task_for(loaded)), [{"sequences": long, "candidate_labels": ["sport", "music"]}])

    assert Encoder(loaded.tokenizer, loaded.model).longest == 64
    assert sorted(found[0]["labels"]) == ["music", "sport"]


class Breaking:
    """A task whose model fails on one text, and on every batch with it."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def answer(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        if any("broken" in request.texts for request in requests):
            raise IndexError("out of range")
        found: list[list[Answer]] = self._task.answer(requests)
        return found


def test_any_error_of_the_model_is_an_error_of_that_record(texts: Pipeline) -> None:
    pipeline = Pipeline(Breaking(texts.task))
    records = [{"id": n, "text_inputs": text} for n, text in enumerate(["the quick fox", "broken", "a dog"])]

    found = answered(pipeline, records)

    assert found[1] == {
        "id": 1, "error": "record 1: the model fails on this record: IndexError.", "generated_texts": [""],
    }  # fmt: skip
    assert [found[0], found[2]] == answered(Pipeline(texts.task), [records[0], records[2]])


def test_switch_answers_as_transformers_does(tmp_path: Path) -> None:
    tokenizer = t5_tokenizer()
    torch.manual_seed(1)
    config = SwitchTransformersConfig(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4,
        num_experts=4, decoder_start_token_id=0, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1,
        initializer_factor=2.0,
    )  # fmt: skip
    folder = saved(SwitchTransformersForConditionalGeneration(config), tokenizer, tmp_path / "switch")
    asked = ["the quick brown fox", "a", *sentences(3)]

    found = answered(Pipeline(task_for(load(folder))), [{"text_inputs": one, "max_new_tokens": 8} for one in asked])

    assert [one["generated_texts"] for one in found] == [reference(folder, one, max_new_tokens=8) for one in asked]


def test_a_big_bird_answers_alike_whoever_came_before(tmp_path: Path) -> None:
    tokenizer = t5_tokenizer()
    torch.manual_seed(1)
    config = BigBirdPegasusConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_layers=2,
        decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=96,
        pad_token_id=0, eos_token_id=1, bos_token_id=2, decoder_start_token_id=2, block_size=4, num_random_blocks=1,
        init_std=0.5,
    )  # fmt: skip
    folder = saved(BigBirdPegasusForConditionalGeneration(config), tokenizer, tmp_path / "bird")
    long = " ".join(sentences(12))
    asked = [long, "a", long[:-20], "the quick fox"]

    pipeline = Pipeline(task_for(load(folder)))
    for one in [*asked, *reversed(asked)]:
        [found] = answered(pipeline, [{"text_inputs": one, "max_new_tokens": 8}])
        assert found["generated_texts"] == reference(folder, one, max_new_tokens=8)


def test_a_model_that_fails_on_a_first_record_is_refused_at_start(t5_folder: Path) -> None:
    loaded = load(t5_folder)
    # More token numbers than the model has rows for: what a tokenizer of another model does.
    loaded.tokenizer.add_tokens(["Hello"])

    with pytest.raises(ModelBroken, match="The model loads, and does not answer: IndexError"):
        task_for(loaded)


def nli_folder(model: Any, folder: Path, pad: str = "<pad>") -> Path:
    tokenizer = tokenizer_of(["<s>", pad, "</s>", "<unk>"], single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>")
    return saved(model, tokenizer, folder)


_NAMED = {"id2label": CLASSES, "label2id": {name: place for place, name in CLASSES.items()}}


@pytest.mark.parametrize("family", ["fnet", "xlnet", "llama"])
def test_a_score_does_not_depend_on_what_shares_the_batch(family: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 200}
    models = {
        "fnet": lambda: FNetForSequenceClassification(
            FNetConfig(pad_token_id=1, initializer_range=0.5, **small, **_NAMED)
        ),
        "xlnet": lambda: XLNetForSequenceClassification(
            XLNetConfig(vocab_size=200, d_model=32, n_layer=1, n_head=2, d_inner=64, pad_token_id=1, **_NAMED)
        ),
        # No token for padding, as Llama has none.
        "llama": lambda: LlamaForSequenceClassification(LlamaConfig(num_attention_heads=2, **small, **_NAMED)),
    }
    pipeline = Pipeline(task_for(load(nli_folder(models[family](), tmp_path / family))))
    records = [{"sequences": text, "candidate_labels": ["sport", "music"]} for text in ["a", *sentences(4)]]

    together = answered(pipeline, records)

    alone = [answered(pipeline, [record])[0] for record in records]
    assert [one["labels"] for one in together] == [one["labels"] for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
