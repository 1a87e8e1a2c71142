"""Problems of a model that registration finds in config.json, generation_config.json and the weights' headers."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from promotion.domain.model_layout import LONGEST_PROBLEM, layout_problem

Shapes = Mapping[str, tuple[int, ...]]
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 50, "hidden_size": 8, "intermediate_size": 12,
    "num_hidden_layers": 2, "tie_word_embeddings": False,
}  # fmt: skip
LAYER = {
    **{f"self_attn.{name}_proj": (8, 8) for name in ("q", "k", "v", "o")},
    "mlp.gate_proj": (12, 8), "mlp.up_proj": (12, 8), "mlp.down_proj": (8, 12),
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (50, 8),
    "lm_head.weight": (50, 8),
    **{f"model.layers.{number}.{name}.weight": shape for number in (0, 1) for name, shape in LAYER.items()},
}


def head(shapes: Shapes) -> bytes:
    """The header of a weight file whose tensors are empty."""
    text = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    )
    return struct.pack("<Q", len(text)) + text.encode()


def problem(
    config: Any = LLAMA,
    shapes: Shapes = SHAPES,
    defaults: Any = None,
    name: str = "model.safetensors",
    environment: Mapping[str, str] | None = None,
) -> str:
    documents = {"config.json": json.dumps(config).encode(), name: head(shapes)}
    if defaults is not None:
        documents["generation_config.json"] = json.dumps(defaults).encode()
    sizes = {path: len(content) for path, content in documents.items()} | {"tokenizer.json": 2}
    return layout_problem(sizes, documents, environment or {})


def test_a_model_that_is_whole_has_no_problem() -> None:
    assert problem() == ""
    assert problem(shapes={name.removeprefix("model."): shape for name, shape in SHAPES.items()}) == ""
    assert problem(defaults={"do_sample": True, "temperature": 0.7, "top_k": 50}) == ""


@pytest.mark.parametrize("gone", [name for name in SHAPES if "embed" not in name])
def test_a_tensor_that_is_missing_is_named(gone: str) -> None:
    assert gone.removeprefix("model.") in problem(
        shapes={name: shape for name, shape in SHAPES.items() if name != gone}
    )


def test_a_tensor_of_another_shape_is_named_with_both() -> None:
    changed = {**SHAPES, "model.layers.1.mlp.down_proj.weight": (8, 13)}
    said = "model.layers.1.mlp.down_proj.weight is 8 by 13, and config.json makes it 8 by 12"
    assert said in problem(shapes=changed)
    flat = {**SHAPES, "model.layers.1.mlp.down_proj.weight": (8,)}
    assert "down_proj.weight is 8, and config.json makes it 8 by 12" in problem(shapes=flat)
    assert "model.embed_tokens.weight is 50 by 8, and config.json makes it 51 by 8" in problem(
        {**LLAMA, "vocab_size": 51}
    )
    assert "is 8 by 8, and config.json makes it any by 9" in problem(
        {**LLAMA, "hidden_size": 9}, {**SHAPES, "model.embed_tokens.weight": (50, 9)}
    )


def test_tied_embeddings_need_no_head() -> None:
    headless = {name: shape for name, shape in SHAPES.items() if name != "lm_head.weight"}
    assert problem({**LLAMA, "tie_word_embeddings": True}, headless) == ""


@pytest.mark.parametrize(
    "config",
    [
        {**LLAMA, "model_type": "phi3", "architectures": ["Phi3ForCausalLM"]},
        {**LLAMA, "quantization_config": {"quant_method": "fp8"}},
        {"architectures": ["BartForCausalLM"], "model_type": "bart", "encoder_layers": 2, "decoder_layers": 2},
        {
            "architectures": ["DebertaForSequenceClassification"],
            "model_type": "deberta",
            "id2label": {"0": "contradiction", "1": "entailment"},
        },
    ],
    ids=["another family", "packed weights", "half of an encoder-decoder", "a classifier of entailment"],
)
def test_models_of_unknown_shapes_have_no_problem_at_registration(config: dict[str, Any]) -> None:
    assert problem(config, {"anything": (3, 3)}) == ""


def test_weights_whose_header_is_too_large_to_be_kept_are_not_compared() -> None:
    documents = {"config.json": json.dumps(LLAMA).encode()}
    assert layout_problem({"config.json": 2, "tokenizer.json": 2, "model.safetensors": 9}, documents, {}) == ""


@pytest.mark.parametrize(
    ("config", "task", "said"),
    [
        ({**LLAMA, "model_type": "llama9"}, "", "opens no model of the type llama9 for text-generation"),
        (LLAMA, "summarization", "opens no model of the type llama for text2text-generation"),
        ({"model_type": "t5", "architectures": ["T5EncoderModel"]}, "", "architectures (T5EncoderModel) do not tell"),
        ({"model_type": "t5"}, "", "architectures (none) do not tell"),
        ({"model_type": "t5"}, "zero-shot-classification", "names no entailment label"),
        ({"model_type": "bert", "architectures": ["BertForSequenceClassification"], "id2label": {"0": "good"}}, "",
         "names no entailment label, so this is no model for zero-shot-classification: good"),
        *(({**LLAMA, "quantization_config": {"quant_method": method}}, "", f"quantized by {method}")
          for method in ("bitsandbytes", "gptq", "awq", "compressed-tensors")),
    ],
)  # fmt: skip
def test_config_json_shows_models_that_the_image_does_not_open(config: dict[str, Any], task: str, said: str) -> None:
    assert said in problem(config, environment={"HF_TASK": task} if task else {})


@pytest.mark.parametrize("variables", [{"INFERENCE_ENGINE": "vllm"}, {"SM_NUM_GPUS": "4"}])
def test_models_that_vllm_runs_are_not_checked(variables: dict[str, str]) -> None:
    config = {**LLAMA, "model_type": "llama9", "quantization_config": {"quant_method": "awq"}}
    assert problem(config, name="part-1.safetensors", environment=variables) == ""


def test_weights_under_other_names_need_an_index() -> None:
    assert "model.safetensors.index.json are missing" in problem(name="model-00001-of-00002.safetensors")


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ({"num_beam_groups": 2}, "num_beam_groups asks for a search that is not done here"),
        ({"do_sample": True, "temperature": 0.0}, "temperature must be above 0"),
        ({"do_sample": True, "top_k": 1e400}, "top_k must be a whole number"),
        ({"do_sample": True, "top_p": 1.5}, "top_p must be above 0 and at most 1, not 1.5"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a number above 0, not 0"),
        ({"early_stopping": "soon"}, "early_stopping must be true, false or \"never\", not 'soon'"),
        ({"num_return_sequences": 3}, "num_return_sequences is 3"),
        ({"max_new_tokens": "20"}, "max_new_tokens must be a whole number"),
    ],
)
def test_defaults_that_no_start_survives_are_told_by_key(defaults: dict[str, Any], said: str) -> None:
    assert f"generation_config.json: {said}" in problem(defaults=defaults)


SCALARS = some.one_of(
    some.none(), some.booleans(), some.integers(-(10**30), 10**30), some.floats(), some.text(max_size=5)
)
ANYTHING = some.recursive(
    SCALARS, lambda each: some.lists(each, max_size=3) | some.dictionaries(some.text(), each), max_leaves=5
)
KEYS = some.sampled_from([
    *LLAMA, "quantization_config", "id2label", "label2id", "do_sample", "temperature", "top_k", "top_p", "num_beams",
    "num_return_sequences", "eos_token_id", "bad_words_ids", "stop_strings", "num_layers", "encoder_layers",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    some.dictionaries(KEYS, ANYTHING),
    some.sampled_from(["llama", "t5", "bart", "bert"]),
    some.dictionaries(KEYS, ANYTHING),
)
def test_no_document_makes_registration_fail(config: dict[str, Any], kind: str, defaults: dict[str, Any]) -> None:
    assert isinstance(problem({**LLAMA, **config}, SHAPES, defaults), str)
    assert isinstance(problem({**config, "model_type": kind, "architectures": ["XForSequenceClassification"]}), str)


def raw(header: str) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode()


@pytest.mark.parametrize("end", ["Infinity", "-Infinity", "1e999", "NaN", '"x"', "null"])
def test_an_end_that_is_no_number_is_a_damaged_file(end: str) -> None:
    documents = {
        "config.json": json.dumps(LLAMA).encode(),
        "model.safetensors": raw(f'{{"a": {{"data_offsets": [0, {end}]}}}}'),
    }
    sizes = {path: len(content) for path, content in documents.items()} | {"tokenizer.json": 2}
    assert layout_problem(sizes, documents, {}) == "model.safetensors is damaged, or not in the safetensors format."


def test_a_name_of_dots_takes_no_more_memory_than_its_length() -> None:
    tracemalloc.start()
    try:
        problem(shapes={**SHAPES, "." * 10_000: (1,)})
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("config", [{"architectures": ["x" * 500_000]}, {**LLAMA, "vocab_size": 10**4200}])
def test_a_problem_has_a_bound(config: dict[str, Any]) -> None:
    assert 0 < len(problem(config)) <= LONGEST_PROBLEM
