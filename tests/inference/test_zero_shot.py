"""Zero-shot classification says what the transformers pipeline says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from transformers import pipeline as transformers_pipeline

from inference.batch.opening import task_for
from inference.engines import Entailment, Pair
from inference.engines.nli import NliEngine
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from inference.tasks.zero_shot import ZeroShot
from tests.inference.real_time import answer_record
from tests.inference.samples import sentences

LABELS = ["sport", "weather", "music", "a lazy dog"]


@pytest.mark.parametrize("folder", ["bart_folder", "bert_folder"])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("labels", [LABELS, ["sport"]], ids=["several", "one"])
def test_scores_are_those_of_transformers(
    folder: str, multi_label: bool, labels: list[str], request: pytest.FixtureRequest
) -> None:
    loaded = load(request.getfixturevalue(folder))
    asked = [*sentences(12, seed=4), "fox " * 300]
    template = "this looks {} on"
    reference = transformers_pipeline("zero-shot-classification", model=loaded.model, tokenizer=loaded.tokenizer)
    expected = reference(asked, candidate_labels=labels, hypothesis_template=template, multi_label=multi_label)
    record = {"candidate_labels": labels, "hypothesis_template": template, "multi_label": multi_label}

    answered = Pipeline(task_for(loaded)).answer_lines(
        [json.dumps({"sequences": text, **record}).encode() for text in asked]
    )

    for line, wanted in zip(answered.lines, expected, strict=True):
        found = json.loads(line)
        assert found["sequence"] == wanted["sequence"]
        assert found["labels"] == wanted["labels"]
        assert found["scores"] == pytest.approx(wanted["scores"], abs=1e-4)
    assert answered.run.counts.truncated == 1


def test_a_list_of_sequences_gets_a_list(labels: Pipeline) -> None:
    both, _ = answer_record(labels, {"sequences": ["the fox", "a dog"], "candidate_labels": LABELS})
    one, _ = answer_record(labels, {"inputs": "a dog", "parameters": {"candidate_labels": LABELS}})

    assert both[1] == one
    assert sorted(one["scores"], reverse=True) == one["scores"]
    assert sum(one["scores"]) == pytest.approx(1)


def test_an_empty_label_list_is_an_error_of_its_record(labels: Pipeline) -> None:
    lines = [
        json.dumps({"id": place, "sequences": "fox", "candidate_labels": some}).encode()
        for place, some in enumerate([[], ["a"]])
    ]

    bad, good = [json.loads(line) for line in labels.answer_lines(lines).lines]

    assert bad == {
        "id": 0,
        "error": "record 0: candidate_labels: must be a list of at least one label.",
        "sequence": "", "labels": [], "scores": [],
    }  # fmt: skip
    assert good["labels"] == ["a"]


def test_500_labels_are_answered(labels: Pipeline) -> None:
    many = [f"label {number}" for number in range(500)]

    answer, run = answer_record(labels, {"sequences": "the fox " * 100, "candidate_labels": many})

    assert sorted(answer["labels"]) == sorted(many)
    assert run.counts.truncated == 1


def test_a_label_longer_than_the_model_can_take_is_refused_by_name(labels: Pipeline) -> None:
    line = json.dumps({"id": 3, "sequences": "fox", "candidate_labels": ["fox", "dog " * 200]}).encode()

    assert "record 3: candidate_labels: 'dog dog" in json.loads(labels.answer_lines([line]).lines[0])["error"]


def test_pairs_that_come_twice_are_computed_once(bart_folder: Path) -> None:
    loaded = load(bart_folder)
    asked: list[int] = []

    class Counting(NliEngine):
        def score(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Entailment]]:
            asked.append(len(pairs))
            return super().score(pairs)

    task = ZeroShot(loaded, Counting(loaded.model))
    records = [
        {"sequences": text, "candidate_labels": some}
        for text in ("fox", "dog", "fox")
        for some in (LABELS[:2], LABELS[:3])
    ]

    answered = Pipeline(task).answer_lines([json.dumps(record).encode() for record in records])

    assert asked == [6]
    assert answered.run.counts.repeated_inputs == 2
