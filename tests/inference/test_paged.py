"""Batch jobs of decoders by transformers' own continuous batching: the same texts, and nothing lost where it gives up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.batch.opening import task_for
from inference.decoders.task import TextGeneration
from inference.models.loading import Loaded, load
from inference.tasks.pipeline import Pipeline
from tests.inference.samples import sentences

PAGED = {"INFERENCE_ENGINE": "generate_batch"}


@pytest.fixture(scope="module")
def loaded(llama_folder: Path) -> Loaded:
    return load(llama_folder)


def asked(*more: dict[str, Any]) -> list[bytes]:
    """Prompts of all lengths, one of them twice, with lengths of their own."""
    texts = [*sentences(9, longest=12), "x", "über 東京 🦊", "x"]
    records = [
        {"id": place, "inputs": text, "parameters": {"max_new_tokens": 8 + place % 2 * 8, "do_sample": False}}
        for place, text in enumerate(texts)
    ]
    return [json.dumps(record).encode() for record in (*records, *more)]


def answers(pipeline: Pipeline, lines: Sequence[bytes]) -> list[Any]:
    return [json.loads(line) for line in pipeline.answer_lines(lines).lines]


def test_whole_answers_are_those_of_the_step_engine(loaded: Loaded) -> None:
    paged = Pipeline(task_for(loaded, PAGED))

    assert answers(paged, asked()) == answers(Pipeline(task_for(loaded)), asked())
    assert paged.task.description.name == "generate_batch"
    counts = paged.answer_lines(asked()).run.counts
    assert counts.tokens_out > 0
    assert counts.repeated_inputs == 1
    # They come all at once, so there is no first one to be timed.
    assert not counts.first_tokens.bins


def test_stops_end_a_text_where_they_end_it_step_by_step(loaded: Loaded) -> None:
    [whole] = answers(Pipeline(task_for(loaded)), asked()[:1])
    stop = whole["generated_text"][2:4]
    record = {"inputs": sentences(1, longest=12)[0], "parameters": {"max_new_tokens": 8, "stop": [stop]}}

    found, expected = (
        answers(Pipeline(task_for(loaded, environment)), asked(record))[-1] for environment in (PAGED, {})
    )

    assert found == expected
    assert found["generated_text"].endswith(stop)


def test_what_it_does_not_do_is_the_step_engines_and_both_are_said(loaded: Loaded) -> None:
    more: list[dict[str, Any]] = [
        {"inputs": "fox", "parameters": {"do_sample": True, "seed": 3, "max_new_tokens": 8}},
        {"inputs": "fox", "parameters": {"repetition_penalty": 1.5, "max_new_tokens": 8}},
        {"inputs": "fox", "parameters": {"details": True, "max_new_tokens": 8}},
    ]
    paged = Pipeline(task_for(loaded, PAGED))

    found, expected = answers(paged, asked(*more)), answers(Pipeline(task_for(loaded)), asked(*more))

    assert [one["generated_text"] for one in found] == [one["generated_text"] for one in expected]
    assert len(found[-1]["details"]["tokens"]) == 8
    assert paged.task.description.name == "continuous+generate_batch"


def test_where_it_gives_up_the_step_engine_goes_on(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pages(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no pages left")

    paged = Pipeline(task_for(loaded, PAGED))
    monkeypatch.setattr(loaded.model, "generate_batch", no_pages)

    assert answers(paged, asked()) == answers(Pipeline(task_for(loaded)), asked())
    assert paged.task.description.name == "continuous"


def test_the_step_engine_is_the_default(loaded: Loaded) -> None:
    task = task_for(loaded)

    assert isinstance(task, TextGeneration)
    assert task.description.name == "continuous"
