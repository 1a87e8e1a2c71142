"""Registration and loading agree on a model's files: the same tasks, tokenizers, types of models and tensors."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)
from transformers.models.auto import modeling_auto

from inference.models import configuration, tokenizer_files
from promotion.domain import model_layout, model_tasks
from promotion.domain.weight_shapes import FAMILIES, shapes_problem

SIZES = {
    "vocab_size": 51, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 6, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
BOTH_SIZES = {
    "vocab_size": 51, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
    "encoder_layers": 2, "decoder_layers": 3, "encoder_ffn_dim": 24, "decoder_ffn_dim": 28, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 0,
}  # fmt: skip


def test_registration_and_loading_know_the_same_words() -> None:
    assert model_layout.TOKENIZERS == tokenizer_files.NAMES
    assert model_layout.WITHOUT_FILES == tokenizer_files.WITHOUT_FILES
    assert (model_layout.CONFIG, model_layout.CODE_FOLDER) == (configuration.CONFIG, configuration.CODE_FOLDER)


@pytest.mark.parametrize(
    ("table", "known"),
    [
        ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", model_tasks.ENCODER_DECODERS),
        ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", model_tasks.CLASSIFIERS),
        ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", model_tasks.DECODERS),
    ],
)
def test_registration_knows_every_type_of_model_that_transformers_opens(table: str, known: frozenset[str]) -> None:
    assert sorted(getattr(modeling_auto, table)) == sorted(known)


def made(kind: str) -> list[tuple[bool, dict[str, Any], dict[str, tuple[int, ...]]]]:
    """Models of this type as each task opens them: whether it decodes, its config.json, the shapes of its tensors."""
    both = kind in model_tasks.ENCODER_DECODERS
    config = AutoConfig.for_model(kind, **(BOTH_SIZES if both else SIZES))
    classes = [AutoModelForSequenceClassification]
    if both:
        classes.append(AutoModelForSeq2SeqLM)
    if kind in model_tasks.DECODERS:
        classes.append(AutoModelForCausalLM)
    found = []
    for auto in classes:
        if type(config) not in auto._model_mapping:
            continue
        with torch.device("meta"):
            model = auto.from_config(config)
        fields = json.loads(model.config.to_json_string(use_diff=False))
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        found.append((auto is AutoModelForCausalLM, fields, shapes))
    return found


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_model_made_by_transformers_has_no_problem(kind: str) -> None:
    for decodes, config, shapes in made(kind):
        assert shapes_problem(config, shapes, decodes=decodes) == ""


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_tensor_that_registration_knows_is_one_of_transformers(kind: str) -> None:
    decodes, config, shapes = made(kind)[-1 if kind not in model_tasks.ENCODER_DECODERS else 0]
    for tensor in FAMILIES[kind]:
        count = config[tensor.layers] if tensor.layers else 1
        for number in range(count):
            end = tensor.name.format(number)
            [name] = [name for name in shapes if name == end or name.endswith(f".{end}")]
            changed = {**shapes, name: tuple(size + 1 for size in shapes[name])}
            assert name in shapes_problem(config, changed, decodes=decodes)
