"""Text to text is what transformers' `generate` would have said, one record at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engines import Arrivals, Generated, Prompt
from inference.engines.generate import GenerateEngine
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from inference.tasks.tasks import TextToText
from tests.inference.real_time import answer_record
from tests.inference.samples import sentences

SETTINGS: list[dict[str, Any]] = [
    {},
    {"max_length": 7},
    {"max_new_tokens": 3},
    {"num_beams": 3},
    {"num_beams": 4, "num_return_sequences": 3},
    {"num_beams": 3, "early_stopping": True},
    {"num_beams": 2, "early_stopping": "never", "no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_answers_are_those_of_generate(t5_folder: Path, texts: Pipeline, settings: Mapping[str, Any]) -> None:
    loaded = load(t5_folder)
    asked = sentences(12, seed=3)
    lines = [json.dumps({"text_inputs": text, **settings}).encode() for text in asked]

    found = [json.loads(line)["generated_texts"] for line in texts.answer_lines(lines).lines]

    for text, answer in zip(asked, found, strict=True):
        tokens = loaded.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            wanted = dict(settings)
            # It counts the start token, and generate would let the model's own max_new_tokens win.
            length = {"max_new_tokens": wanted.pop("max_length", 13) - 1}
            output = loaded.model.generate(**tokens, **{**length, **wanted})
        assert answer == loaded.tokenizer.batch_decode(output, skip_special_tokens=True)


class CountingEngine(GenerateEngine):
    """Remembers what it was asked."""

    asked: Sequence[Prompt] = ()

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        self.asked = prompts
        yield from super().generate(prompts, arrivals)


def test_a_text_that_comes_twice_is_computed_once(t5_folder: Path) -> None:
    loaded = load(t5_folder)
    engine = CountingEngine(loaded.model)
    pipeline = Pipeline(TextToText(loaded, engine))
    lines = [
        json.dumps({"id": place, "text_inputs": text}).encode() for place, text in enumerate(["fox", "dog", "fox"])
    ]

    answered = pipeline.answer_lines(lines)

    assert len(engine.asked) == 2
    first, _, third = (json.loads(line)["generated_texts"] for line in answered.lines)
    assert first == third
    assert answered.run.counts.repeated_inputs == 1


def test_one_text_with_two_settings_is_computed_twice(texts: Pipeline) -> None:
    short, long = (
        answer_record(texts, {"text_inputs": "the fox", "max_new_tokens": count})[0]["generated_texts"][0]
        for count in (1, 9)
    )

    assert len(short) < len(long)


def test_running_out_of_memory_loses_only_what_fits_nowhere(
    t5_folder: Path, texts: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(t5_folder)
    generate = loaded.model.generate

    def on_a_small_device(*, attention_mask: torch.Tensor, **options: Any) -> Any:
        """A device without room for more than two rows, or for long ones."""
        rows, longest = attention_mask.shape
        if rows > 2 or longest > 60:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(attention_mask=attention_mask, **options)

    monkeypatch.setattr(loaded.model, "generate", on_a_small_device)
    pipeline = Pipeline(TextToText(loaded, GenerateEngine(loaded.model)), approval_id="approval-1")
    asked = [
        json.dumps({"id": place, "text_inputs": text}).encode() for place, text in enumerate(sentences(9, longest=9))
    ]
    huge = json.dumps({"id": "huge", "text_inputs": "fox " * 80}).encode()

    answered = pipeline.answer_lines([*asked[:4], huge, *asked[4:]])

    failed = json.loads(answered.lines.pop(4))
    assert failed["error"] == "record huge: it does not fit into memory, even alone"
    assert answered.run.counts.errors == 1
    assert answered.lines == texts.answer_lines(asked).lines
