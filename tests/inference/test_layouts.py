"""Folders as people pack them: loaded, or refused by name."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from inference.batch.opening import task_for
from inference.errors import ModelBroken, ModelRefused
from inference.models.configuration import TEXT_GENERATION, TEXT_TO_TEXT, task_of
from inference.models.loading import load
from inference.models.tokenizer_files import NAMES, WITHOUT_FILES
from inference.tasks.pipeline import Pipeline
from tests.inference.tokenizers_made import folder_of

RECORDS: dict[str, dict[str, Any]] = {
    "text2text-generation": {"text_inputs": "the quick fox", "max_new_tokens": 6},
    "zero-shot-classification": {"sequences": "the quick fox", "candidate_labels": ["sport", "music"]},
    "text-generation": {"inputs": "the quick fox", "parameters": {"max_new_tokens": 6}},
}


def answer(folder: Path, task: str | None = None, **fields: Any) -> dict[str, Any]:
    loaded = load(folder, task=task)
    line = json.dumps({**RECORDS[loaded.task], **fields}).encode()
    return dict(json.loads(Pipeline(task_for(loaded)).answer_lines([line]).lines[0]))


def changed(folder: Path, name: str = "config.json", without: tuple[str, ...] = (), **fields: Any) -> None:
    path = folder / name
    found = {**(json.loads(path.read_text()) if path.exists() else {}), **fields}
    path.write_text(json.dumps({key: value for key, value in found.items() if key not in without}))


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda folder: shutil.copytree(folder, tmp_path / "model")


@pytest.mark.parametrize("kind", ["t5", "llama", "xlm-roberta", "deberta", "mbart50"])
def test_a_sentencepiece_file_alone_is_a_tokenizer(kind: str, tmp_path: Path) -> None:
    assert "error" not in answer(folder_of(kind, tmp_path / kind))


def test_opus_mt_translates_from_its_two_sentencepiece_files(tmp_path: Path) -> None:
    assert "error" not in answer(folder_of("marian", tmp_path / "marian"))


def test_every_tokenizer_class_that_transformers_has_is_found_by_a_file_name() -> None:
    names = {name for name in TOKENIZER_MAPPING_NAMES.values() if isinstance(name, str)}
    # RAG's holds two tokenizers in folders of their own, and Dia's speaks.
    names -= {*WITHOUT_FILES, "RagTokenizer", "DiaTokenizer"}
    classes = {name: getattr(transformers, name, None) for name in names}

    found = {name: set(getattr(one, "vocab_files_names", {}).values()) for name, one in classes.items() if one}

    assert len(found) > 40
    assert [name for name, files in found.items() if files and not files & set(NAMES)] == []


def test_a_tokenizer_in_tiktokens_format_is_refused_with_what_to_add(llama_folder: Path, copied: Any) -> None:
    folder = copied(llama_folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    changed(folder, "tokenizer_config.json", tokenizer_class="LlamaTokenizer")

    with pytest.raises(ModelBroken, match=r"The tokenizer reads no text: tokenizer\.model .*add tokenizer\.json"):
        load(folder)


def test_mistrals_own_tokenizer_alone_is_refused_with_what_to_add(llama_folder: Path, copied: Any) -> None:
    folder = copied(llama_folder)
    (folder / "tokenizer.json").rename(folder / "tekken.json")

    with pytest.raises(ModelBroken, match=r"tekken\.json alone needs mistral-common.*add tokenizer\.json"):
        load(folder)


def test_files_in_one_folder_below_the_top_are_found(t5_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(t5_folder, tmp_path / "top" / "model")

    assert answer(tmp_path / "top") == answer(t5_folder)


def test_two_models_in_one_artifact_are_refused_by_name(t5_folder: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(t5_folder, tmp_path / "top" / name)

    with pytest.raises(ModelBroken, match=r"several folders have one \(first, second\)"):
        load(tmp_path / "top")


def test_a_containers_inference_script_is_left_unrun_and_that_is_said(
    t5_folder: Path, copied: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copied(t5_folder)
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text("raise SystemExit('ran')")
    (folder / "code" / "requirements.txt").write_text("anything")

    with caplog.at_level(logging.WARNING, "inference"):
        found = answer(folder)

    assert found == answer(t5_folder)
    assert "left unrun: code/inference.py" in caplog.text


def test_code_that_loading_would_run_is_refused_below_a_folder_too(t5_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(t5_folder, tmp_path / "top" / "model")
    changed(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.Tokenizer", None]})

    with pytest.raises(ModelRefused, match="code of its own"):
        load(tmp_path / "top")


def test_a_chat_template_in_json_is_read(llama_folder: Path, copied: Any) -> None:
    folder = copied(llama_folder)
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    messages = [{"role": "user", "content": "hi"}]

    assert answer(folder, messages=messages, inputs=None) == answer(llama_folder, messages=messages, inputs=None)


def test_a_configuration_with_a_byte_order_mark_is_read(t5_folder: Path, copied: Any) -> None:
    folder = copied(t5_folder)
    path = folder / "generation_config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert load(folder).task == TEXT_TO_TEXT


@pytest.mark.parametrize(
    ("architecture", "model_type", "task"),
    [
        ("T5WithLMHeadModel", "t5", TEXT_TO_TEXT),
        ("MarianMTModel", "marian", TEXT_TO_TEXT),
        ("EncoderDecoderModel", "encoder-decoder", TEXT_TO_TEXT),
        ("BartForCausalLM", "bart", TEXT_GENERATION),
        ("Gemma3ForConditionalGeneration", "gemma3", TEXT_GENERATION),
        ("Llama4ForConditionalGeneration", "llama4", TEXT_GENERATION),
        ("GPT2LMHeadModel", "gpt2", TEXT_GENERATION),
    ],
)
def test_the_type_of_a_model_tells_whether_it_has_an_encoder(architecture: str, model_type: str, task: str) -> None:
    assert task_of(None, {"architectures": [architecture], "model_type": model_type}) == task


@pytest.mark.parametrize(("left", "gone"), [("id2label", "label2id"), ("label2id", "id2label")])
def test_either_table_of_classes_is_enough(bart_folder: Path, copied: Any, left: str, gone: str) -> None:
    folder = copied(bart_folder)
    changed(folder, without=(gone,))

    assert answer(folder) == answer(bart_folder)


def test_classes_that_are_no_table_are_refused_by_key(bart_folder: Path, copied: Any) -> None:
    folder = copied(bart_folder)
    changed(folder, id2label=["a", "b", "c"])

    with pytest.raises(ModelBroken, match=r"config\.json: id2label must be an object"):
        load(folder)


def test_weights_of_another_shape_are_refused_by_tensor(t5_folder: Path, copied: Any) -> None:
    folder = copied(t5_folder)
    weights = load_file(folder / "model.safetensors")
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    weights[name] = weights[name][:16].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelBroken, match=rf"{name} is 16 by 32, and config\.json makes it 32 by 32"):
        load(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temperature": 0.0, "do_sample": True}, "temperature must be above 0"),
        ({"top_k": -1, "do_sample": True}, "top_k must be a whole number"),
        ({"top_p": 0.0, "do_sample": True}, "top_p must be above 0"),
        ({"num_beams": 0}, "num_beams must be a whole number of at least 1, not 0"),
        ({"max_new_tokens": "many"}, "max_new_tokens must be a whole number of at least 1, not 'many'"),
        ({"eos_token_id": "</s>"}, "eos_token_id must be a token's number"),
        ({"bad_words_ids": [3]}, "bad_words_ids must be lists of tokens' numbers"),
        ({"stop_strings": [""]}, "stop_strings must be a text"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a number above 0"),
        ({"early_stopping": "soon"}, "early_stopping must be true, false or"),
        ({"do_sample": "yes"}, "do_sample must be true or false"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, "num_beam_groups asks for a search"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha asks for a search"),
        ({"num_return_sequences": 3, "num_beams": 1}, "num_return_sequences"),
    ],
)
def test_an_unusable_default_is_refused_by_file_and_key(
    t5_folder: Path, copied: Any, fields: dict[str, Any], said: str
) -> None:
    folder = copied(t5_folder)
    changed(folder, "generation_config.json", **fields)

    with pytest.raises(ModelBroken, match=rf"generation_config\.json: {said}"):
        task_for(load(folder))


def test_defaults_that_are_no_json_are_refused_by_file(t5_folder: Path, copied: Any) -> None:
    folder = copied(t5_folder)
    (folder / "generation_config.json").write_text("{broken")

    with pytest.raises(ModelBroken, match=r"generation_config\.json can't be read"):
        load(folder)


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}])
def test_sampling_defaults_of_a_model_that_does_not_sample_are_left_unused(
    llama_folder: Path, copied: Any, fields: dict[str, Any]
) -> None:
    folder = copied(llama_folder)
    changed(folder, "generation_config.json", do_sample=False, **fields)

    assert answer(folder) == answer(llama_folder)
