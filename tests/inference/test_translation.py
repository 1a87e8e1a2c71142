"""Translation models are told their languages by transformers' own names, at the top or under `parameters`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from inference.batch.opening import task_for
from inference.models.loading import load
from inference.records.parameters import looks_like_parameter
from inference.tasks.pipeline import Pipeline
from tests.inference.tokenizers_made import folder_of

TEXT = "the quick brown fox"


@pytest.fixture(scope="module")
def nllb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of("nllb", tmp_path_factory.mktemp("nllb") / "model")


@pytest.fixture(scope="module")
def translating(nllb_folder: Path) -> Pipeline:
    return Pipeline(task_for(load(nllb_folder, task="translation")))


def answered(pipeline: Pipeline, *records: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in pipeline.answer_lines([json.dumps(one).encode() for one in records]).lines]


def reference(folder: Path, source: str, target: str) -> list[str]:
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tokenizer.src_lang = source
    with torch.inference_mode():
        output = model.generate(
            **tokenizer(TEXT, return_tensors="pt"), forced_bos_token_id=tokenizer.convert_tokens_to_ids(target)
        )
    return list(tokenizer.batch_decode(output, skip_special_tokens=True))


@pytest.mark.parametrize(("source", "target"), [("eng_Latn", "deu_Latn"), ("deu_Latn", "fra_Latn")])
@pytest.mark.parametrize("nested", [False, True])
def test_source_and_target_are_what_transformers_makes_of_them(
    translating: Pipeline, nllb_folder: Path, source: str, target: str, nested: bool
) -> None:
    languages = {"src_lang": source, "tgt_lang": target}
    record = {"inputs": TEXT, "parameters": languages} if nested else {"inputs": TEXT, **languages}

    assert answered(translating, record)[0]["generated_texts"] == reference(nllb_folder, source, target)


def test_records_of_different_languages_share_a_job(translating: Pipeline, nllb_folder: Path) -> None:
    pairs = [("eng_Latn", "deu_Latn"), ("deu_Latn", "eng_Latn"), ("fra_Latn", "deu_Latn"), ("eng_Latn", "fra_Latn")]

    found = answered(translating, *({"inputs": TEXT, "src_lang": one, "tgt_lang": other} for one, other in pairs))

    assert [one["generated_texts"] for one in found] == [reference(nllb_folder, *pair) for pair in pairs]


def test_the_first_token_may_be_forced_by_its_number(translating: Pipeline, nllb_folder: Path) -> None:
    number = AutoTokenizer.from_pretrained(nllb_folder).convert_tokens_to_ids("deu_Latn")

    [by_number, by_name] = answered(
        translating, {"inputs": TEXT, "forced_bos_token_id": number}, {"inputs": TEXT, "tgt_lang": "deu_Latn"}
    )

    assert by_number == by_name


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"tgt_lang": "klingon"},
            "tgt_lang: is 'klingon', which this model has not; its codes are of the form deu_Latn",
        ),
        ({"src_lang": ""}, "src_lang: must be a text that is not empty"),
        ({"tgt_lang": "deu_Latn", "forced_bos_token_id": 4}, "forced_bos_token_id: is 4, and tgt_lang deu_Latn is"),
        ({"forced_bos_token_id": 9_999}, "forced_bos_token_id: is 9999, and the model has"),
        ({"source_lang": "eng_Latn"}, "source_lang: is not a parameter of this task; did you mean src_lang?"),
    ],
)
def test_a_language_that_the_model_has_not_is_refused_by_name(
    translating: Pipeline, fields: dict[str, Any], said: str
) -> None:
    assert answered(translating, {"inputs": TEXT, **fields})[0]["error"].startswith(said)


def test_a_model_without_languages_refuses_them(texts: Pipeline) -> None:
    [found] = answered(texts, {"inputs": TEXT, "tgt_lang": "fra_Latn"})

    assert found["error"] == "tgt_lang: names a language, and this model's tokenizer has no codes of languages."


def test_a_first_token_forced_on_t5_is_what_transformers_makes_of_it(texts: Pipeline, t5_folder: Path) -> None:
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(t5_folder).eval(), AutoTokenizer.from_pretrained(t5_folder)
    with torch.inference_mode():
        output = model.generate(**tokenizer(TEXT, return_tensors="pt"), forced_bos_token_id=40, max_new_tokens=6)

    [found] = answered(texts, {"inputs": TEXT, "forced_bos_token_id": 40, "max_new_tokens": 6})

    assert found["generated_texts"] == tokenizer.batch_decode(output, skip_special_tokens=True)


@pytest.mark.parametrize("name", ["source_lang", "target_lang", "truncation", "prefix", "padding", "min_p", "src_lang"])
def test_a_name_that_changes_an_answer_elsewhere_is_never_data(texts: Pipeline, name: str) -> None:
    [found] = answered(texts, {"inputs": TEXT, name: "some text"})

    assert found["error"].startswith(f"{name}: ")


def test_no_setting_of_transformers_generation_is_taken_for_data() -> None:
    private = {"transformers_version", "_from_model_config"}
    names = {name for name in GenerationConfig().to_dict() if name not in private}

    assert len(names) > 40
    assert sorted(name for name in names if not looks_like_parameter(name, "text", ())) == []
