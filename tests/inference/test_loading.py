"""Models that may be opened, and the message of each refusal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.batch.opening import task_for
from inference.errors import ModelBroken, ModelRefused
from inference.models import memory, processor
from inference.models.configuration import TEXT_GENERATION, TEXT_TO_TEXT, ZERO_SHOT
from inference.models.loading import Loaded, dtype_of, load, verify_folder
from inference.models.tokenizer_files import load_tokenizer
from inference.tasks.pipeline import Pipeline
from promotion.client.artifact import manifest_of_folder
from promotion.errors import Invalid


@pytest.fixture
def folder(t5_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(t5_folder, tmp_path / "model")


def changed(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def test_a_folder_is_what_was_approved(folder: Path) -> None:
    verify_folder(folder, manifest_of_folder(folder).sha256)


@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_changed_folder_is_refused(folder: Path, change: str) -> None:
    approved = manifest_of_folder(folder).sha256
    if change == "edit":
        changed(folder, num_heads=4, extra=1)
    elif change == "add":
        (folder / "more.json").write_text("{}")
    else:
        (folder / "generation_config.json").unlink()

    with pytest.raises(ModelRefused, match="is not what was approved"):
        verify_folder(folder, approved)


def test_without_an_approval_nothing_is_opened(folder: Path) -> None:
    with pytest.raises(ModelRefused, match="PROMOTION_MANIFEST_SHA256 is not set"):
        verify_folder(folder, None)


def test_a_hubs_id_is_refused(folder: Path) -> None:
    with pytest.raises(ModelRefused, match="HF_MODEL_ID=google/flan-t5-large"):
        load(folder, hub_id="google/flan-t5-large")


def test_pickled_weights_are_never_opened(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")

    with pytest.raises(ModelRefused, match=r"Only safetensors weights are opened.*pytorch_model\.bin"):
        load(folder)


@pytest.mark.parametrize("way", ["auto_map", "file", "tokenizer"])
def test_a_model_with_code_of_its_own_is_refused(folder: Path, way: str) -> None:
    if way == "file":
        (folder / "modeling.py").write_text("raise SystemExit('ran')")
    elif way == "tokenizer":
        path = folder / "tokenizer_config.json"
        path.write_text(
            json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["mine.Tokenizer", None]}})
        )
    else:
        changed(folder, auto_map={"AutoModelForSeq2SeqLM": "modeling.Mine"})

    with pytest.raises(ModelRefused, match="code of its own"):
        load(folder)


def test_a_link_is_not_followed(folder: Path) -> None:
    (folder / "secrets.json").symlink_to("/etc/hostname")

    with pytest.raises(ModelRefused, match=r"Links .* secrets\.json"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "reason"), [("config.json", "config.json is missing"), ("tokenizer.json", "tokenizer is missing")]
)
def test_a_missing_file_is_named(folder: Path, name: str, reason: str) -> None:
    (folder / name).unlink()

    with pytest.raises(ModelBroken, match=reason):
        load(folder)


@pytest.mark.parametrize(("text", "reason"), [("{", "can't be read"), ("[]", "holds no object")])
def test_a_configuration_that_is_no_json_is_said(folder: Path, text: str, reason: str) -> None:
    (folder / "config.json").write_text(text)

    with pytest.raises(ModelBroken, match=rf"config\.json {reason}"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer_config.json", "chat_template.json"]
)
def test_a_folder_in_the_place_of_a_file_is_said(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()

    with pytest.raises(ModelBroken, match=f"{re.escape(name)} can't be read"):
        load(folder)


def test_a_folder_in_the_place_of_weights_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()

    assert memory.numbers_in(tmp_path) == 0


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="There is no model folder"):
        verify_folder(tmp_path / "gone", "0" * 64)


def test_a_tokenizer_that_does_not_load_is_said(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(ModelBroken, match="tokenizer does not load"):
        load(folder)


def test_a_folder_without_any_file_of_a_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match=r"The tokenizer is missing: none of tokenizer\.json, .* is there"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"), [("{", " can't be read"), ("{}", ": chat_template must be a text"), ("[]", ": chat_template")]
)
def test_a_chat_template_that_is_no_text_is_said(folder: Path, text: str, reason: str) -> None:
    (folder / "chat_template.json").write_text(text)

    with pytest.raises(ModelBroken, match=rf"chat_template\.json{reason}"):
        load_tokenizer(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    changed(folder, d_ff=128)

    with pytest.raises(ModelBroken, match="weights do"):
        load(folder)


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "SelfAttention.q" in name)
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelBroken, match="do not fit"):
        load(folder)


def test_truncated_weights_are_said(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(ModelBroken, match="weights do not load"):
        load(folder)


@pytest.mark.parametrize("header", [b"{", b"[]", b'{"a": {}}', b'{"a": {"shape": 1}}', b"[" * 100_000])
def test_damaged_weights_take_no_memory_before_their_loading_says_so(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)

    assert memory.numbers_in(tmp_path) == 0


def test_the_task_is_the_packages_or_the_models_own(folder: Path, bart_folder: Path) -> None:
    assert load(folder).task == "text2text-generation"
    assert load(folder, task="summarization").task == "text2text-generation"
    assert load(folder, task="translation_en_to_fr").task == "text2text-generation"
    assert load(bart_folder).task == "zero-shot-classification"


def test_a_task_that_is_not_ours_is_refused(folder: Path) -> None:
    with pytest.raises(ModelBroken, match="HF_TASK=fill-mask is not a task of this pipeline"):
        load(folder, task="fill-mask")
    changed(folder, architectures=["T5EncoderModel"])
    with pytest.raises(ModelBroken, match=r"architectures \(T5EncoderModel\) do not tell"):
        load(folder)


def test_a_classifier_without_an_entailment_class_is_refused(bart_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bart_folder, tmp_path / "classifier")
    changed(folder, id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 1, "c": 2})

    with pytest.raises(ModelBroken, match="no entailment label"):
        load(folder)


@pytest.mark.parametrize(("named", "expected"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_a_job_says_how_exactly_it_computes(t5_folder: Path, named: str, expected: torch.dtype) -> None:
    loaded = load(t5_folder, environment={"INFERENCE_DTYPE": named})

    assert loaded.model.dtype == expected
    record = {"text_inputs": "the quick fox", "max_new_tokens": 3}
    answered = Pipeline(task_for(loaded)).answer_lines([json.dumps(record).encode()])
    assert answered.run.counts.engine["dtype"] == named
    assert answered.run.counts.errors == 0


def test_a_number_that_there_is_not_is_refused_by_the_variables_name(t5_folder: Path) -> None:
    with pytest.raises(Invalid, match="INFERENCE_DTYPE: must be float32 or bfloat16 or float16, not 'half'"):
        load(t5_folder, environment={"INFERENCE_DTYPE": "half"})


def test_scores_are_computed_in_float16_on_a_gpu_and_texts_are_not(
    t5_folder: Path, bart_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        Invalid, match="INFERENCE_DTYPE: is float16, and numbers of text2text-generation leave its range"
    ):
        load(t5_folder, environment={"INFERENCE_DTYPE": "float16"})
    assert load(bart_folder, environment={"INFERENCE_DTYPE": "float16"}).model.dtype == torch.float16

    assert {dtype_of({}, task) for task in (ZERO_SHOT, TEXT_TO_TEXT)} == {torch.float32}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [dtype_of({}, task) for task in (ZERO_SHOT, TEXT_TO_TEXT)] == [torch.float16, torch.bfloat16]
    assert dtype_of({"INFERENCE_DTYPE": "float32"}, ZERO_SHOT) == torch.float32


@pytest.mark.parametrize("fast", [True, False])
def test_16_bits_on_a_processor_without_them_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fast: bool
) -> None:
    monkeypatch.setattr(processor, "computes_16_bits", lambda: fast)

    assert dtype_of({"INFERENCE_DTYPE": "bfloat16"}) == torch.bfloat16
    assert ("several times slower" in caplog.text) is not fast


def test_a_model_of_vllm_without_defaults_has_those_of_transformers(tmp_path: Path) -> None:
    assert Loaded(TEXT_GENERATION, None, None, tmp_path).generation_config.max_new_tokens is None
