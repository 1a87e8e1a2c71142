"""The check of GPU code against `generate` at start: here with a broken engine, on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engines import Arrivals, Description, Generated, Prompt, encoder_decoder
from inference.engines.cuda import Graphs, Recording
from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder
from inference.engines.encoder_decoder import EncoderDecoderEngine, text_engine
from inference.engines.generate import GenerateEngine
from inference.engines.start_check import alike, checked, prompts_for
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from inference.tasks.tasks import TextToText
from tests.inference.test_engine_cuda import Recorded, Rerun
from tests.inference.test_engine_exact import VOCABULARY, own, t5

Change = Callable[[tuple[int, ...]], tuple[int, ...]]


class Changed:
    """An engine that says something else than the one behind it, from its `places`."""

    joins = False
    description = Description("broken", "cpu", "float32")

    def __init__(self, engine: GenerateEngine, change: Change, places: Sequence[int] = range(100)) -> None:
        self._engine, self._change, self._places = engine, change, places

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        for place, found in self._engine.generate(prompts, arrivals):
            rows = tuple(map(self._change, found.sequences)) if place in self._places else found.sequences
            yield place, replace(found, sequences=rows)


def other_end(row: tuple[int, ...]) -> tuple[int, ...]:
    return (*row[:-1], row[-1] + 1)


def other(row: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token + 1 for token in row)


def reference(dtype: str = "float32") -> GenerateEngine:
    """The plain path of a model that ends no text early, so that tokens can be counted."""
    model = t5()
    model.generation_config.min_new_tokens = 16
    engine = GenerateEngine(model)
    engine.description = replace(engine.description, dtype=dtype)
    return engine


def test_an_engine_that_says_the_same_is_taken() -> None:
    model = t5()
    engine = own(model)

    assert checked(lambda: engine, GenerateEngine(model), VOCABULARY) is engine


def test_in_float32_one_other_token_is_too_many(caplog: pytest.LogCaptureFixture) -> None:
    plain = reference()

    found = checked(lambda: Changed(plain, other_end, [3]), plain, VOCABULARY)

    assert found is plain
    assert found.description.fallbacks == 1
    assert "failed its check at start: 0.996 of its tokens are those of generate" in caplog.text


@pytest.mark.parametrize(("places", "taken"), [((3, 4, 5), True), (range(6), False)], ids=str)
def test_in_16_bits_two_in_a_hundred_may_differ(places: Sequence[int], taken: bool) -> None:
    plain = reference("bfloat16")

    assert (checked(lambda: Changed(plain, other_end, places), plain, VOCABULARY) is not plain) == taken
    # 16 texts of 16 tokens.
    assert alike(Changed(plain, other_end, places), plain, prompts_for(VOCABULARY)) == 1 - len(places) / 256


def test_tokens_after_the_first_difference_are_not_counted() -> None:
    plain = reference()

    assert alike(Changed(plain, other, [0]), plain, prompts_for(VOCABULARY)) == 240 / 241


def test_an_engine_that_fails_is_left_out_and_the_reason_is_said(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> EncoderDecoderEngine:
        raise RuntimeError("CUDA error: an illegal instruction was encountered")

    plain = reference()

    assert checked(broken, plain, VOCABULARY) is plain
    assert "illegal instruction" in caplog.text


class Unrepeated(Graphs):
    """Graphs that say the same scores at every step, once they have recorded one."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder, lambda: self.record)

    @staticmethod
    def record(step: Callable[[], object]) -> Recording:
        step()
        return Rerun(lambda: None)


class Pretended:
    """A model's device: a GPU, apart from while transformers' own code computes."""

    now = "cuda"

    def __get__(self, model: Any, kind: Any) -> torch.device:
        return torch.device(self.now)


class Here(GenerateEngine):
    """The plain path, which computes where its tensors are."""

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        Pretended.now = "cpu"
        yield from super().generate(prompts, arrivals)
        Pretended.now = "cuda"


@pytest.mark.parametrize(("graphs", "fallbacks"), [(Unrepeated, 1), (Recorded, 0)])
def test_on_a_gpu_an_engine_is_checked_and_the_evidence_counts_it(
    graphs: type[Graphs], fallbacks: int, t5_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(t5_folder)
    monkeypatch.setattr(encoder_decoder, "cuda_encoder", Encoder)
    monkeypatch.setattr(encoder_decoder, "free_bytes", lambda device: 2 * 10**9)
    monkeypatch.setattr(encoder_decoder, "Graphs", graphs)
    monkeypatch.setattr(encoder_decoder, "GenerateEngine", Here)
    with monkeypatch.context() as patched:
        patched.setattr(type(loaded.model), "device", Pretended())
        engine = text_engine(loaded.model)
        task = TextToText(loaded, engine)

    run = Pipeline(task).answer_lines([b'{"text_inputs": "Hello"}']).run

    assert run.counts.engine.get("fallbacks", 0) == fallbacks
    assert run.counts.engine["name"] == ("generate" if fallbacks else "encoder-decoder")
