"""CTranslate2 behind the protocol of engines: it answers as `generate` does, and says what computed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from inference.batch.opening import task_for
from inference.engines import Description, Prompt
from inference.engines.generate import GenerateEngine
from inference.models.loading import Loaded, load
from inference.models.processor import computes_16_bits, flags
from inference.records.parameters import Generation
from inference.tasks.ctranslate2 import ctranslate2_engine
from inference.tasks.pipeline import Pipeline
from promotion.errors import Invalid

ASKED = {"INFERENCE_ENGINE": "ctranslate2"}


@pytest.fixture(scope="module")
def loaded(t5_folder: Path) -> Loaded:
    return load(t5_folder, environment=ASKED)


def prompts(loaded: Loaded, **settings: Any) -> list[Prompt]:
    wanted = Generation(**{"max_new_tokens": 12, **settings})
    texts = ["the harbour is closed", "two ships", "a storm is coming over the sea", "the tide", "the harbour " * 9]
    return [Prompt(tuple(loaded.tokenizer(text)["input_ids"]), wanted, key) for key, text in enumerate(texts)]


@pytest.mark.parametrize("settings", [{}, {"no_repeat_ngram_size": 2}, {"max_new_tokens": 3}])
def test_greedy_texts_are_those_of_generate_in_float32(loaded: Loaded, settings: dict[str, Any]) -> None:
    engine, asked = ctranslate2_engine(loaded, "float32"), prompts(loaded, **settings)
    found, expected = dict(engine.generate(asked)), dict(GenerateEngine(loaded.model).generate(asked))
    assert [found[place].sequences for place in range(5)] == [expected[place].sequences for place in range(5)]
    assert engine.description == Description("ctranslate2", "cpu", "float32")


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"do_sample": True, "seed": 4}])
def test_the_other_engine_is_used_for_results_that_it_can_not_reproduce(
    loaded: Loaded, settings: dict[str, Any]
) -> None:
    engine, asked = ctranslate2_engine(loaded, "int8"), prompts(loaded, **settings)
    dict(engine.generate(prompts(loaded)))
    found, expected = dict(engine.generate(asked)), dict(GenerateEngine(loaded.model).generate(asked))
    assert [found[place].sequences for place in range(5)] == [expected[place].sequences for place in range(5)]
    assert engine.description == Description("ctranslate2+encoder-decoder", "cpu", "int8+float32")


def test_the_metrics_say_which_engine_and_precision_computed(t5_folder: Path) -> None:
    variables = {**ASKED, "INFERENCE_DTYPE": "int8"}
    pipeline = Pipeline(task_for(load(t5_folder, environment=variables), variables))
    answered = pipeline.answer_lines([json.dumps({"id": 0, "text_inputs": "the harbour"}).encode()])
    said = {"name": "ctranslate2", "device": "cpu", "dtype": "int8"}
    assert said.items() <= answered.run.counts.engine.items()


def test_int8_never_comes_by_itself(t5_folder: Path) -> None:
    with pytest.raises(Invalid, match=r"INFERENCE_DTYPE.* only INFERENCE_ENGINE=ctranslate2"):
        load(t5_folder, environment={"INFERENCE_DTYPE": "int8"})
    task = task_for(load(t5_folder, environment=ASKED), ASKED)
    assert task.description.dtype == "float32"


def test_the_approved_folder_is_only_read(t5_folder: Path, loaded: Loaded) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in t5_folder.iterdir())
    ctranslate2_engine(loaded, "int8")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in t5_folder.iterdir()) == before


def test_a_precision_without_instructions_is_refused(loaded: Loaded) -> None:
    with pytest.raises(
        Invalid, match=r"INFERENCE_DTYPE.* is float13, which this cpu has no instructions for; take float32"
    ):
        ctranslate2_engine(loaded, "float13")


def test_classifiers_are_refused_by_name(bart_folder: Path) -> None:
    with pytest.raises(Invalid, match=r"INFERENCE_ENGINE.* answers text2text-generation only"):
        load(bart_folder, environment=ASKED)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx2\nflags\t\t: fpu avx2\n", False),
        ("Features\t: fp asimd bf16\n", True),
        ("", True),
    ],
)
def test_a_processor_says_whether_it_computes_in_16_bits(tmp_path: Path, info: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    assert computes_16_bits(tmp_path / "cpuinfo") is expected
    assert computes_16_bits(tmp_path / "nothing")
    assert ("avx2" in flags(info)) is ("avx2" in info)


def test_16_bits_are_warned_of_exactly_where_the_processor_lacks_them(
    t5_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="inference"):
        load(t5_folder, environment={"INFERENCE_DTYPE": "bfloat16"})
    warned = any("no instructions for it" in record.message for record in caplog.records)
    assert warned is not computes_16_bits()
