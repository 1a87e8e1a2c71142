"""Zero-shot classification: a pair that an earlier request asked for is not computed again, and its answer is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.batch.transform import Settings, Worker
from inference.engines import Description, Entailment, Pair
from inference.engines.nli import NliEngine
from inference.models.loading import Loaded, load
from inference.tasks.pipeline import Pipeline
from inference.tasks.score_cache import ScoreCache, Scored
from inference.tasks.zero_shot import ZeroShot
from tests.inference.real_time import answer_record

KNOWN = {"sequences": "the quick fox", "candidate_labels": ["sport", "weather"]}
GOOD = Scored(Entailment(0.5, 1.5, 0.1), 7, False)


class Counting:
    """An engine that remembers how many pairs it was asked for in each call; it can be told to fail."""

    def __init__(self, loaded: Loaded) -> None:
        self._engine = NliEngine(loaded.model)
        self.asked: list[int] = []
        self.error: str | None = None
        self.description: Description = self._engine.description

    def score(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Entailment]]:
        self.asked.append(len(pairs))
        for index, found in self._engine.score(pairs):
            yield index, Entailment(0.0, 0.0, 0.1, self.error) if self.error else found


@pytest.fixture
def engine(bart_folder: Path) -> Counting:
    return Counting(load(bart_folder))


@pytest.fixture
def pipeline(bart_folder: Path, engine: Counting) -> Pipeline:
    return Pipeline(ZeroShot(load(bart_folder), engine))


def body(pipeline: Pipeline, record: dict[str, Any]) -> Any:
    return answer_record(pipeline, record)[0]


def test_an_answer_from_the_cache_is_the_first_one_to_the_last_digit(pipeline: Pipeline, engine: Counting) -> None:
    first = answer_record(pipeline, KNOWN)
    second = answer_record(pipeline, KNOWN)

    assert second[0] == first[0]
    assert second[1].counts.tokens_in == first[1].counts.tokens_in > 0
    assert engine.asked == [2]


def test_only_what_is_new_of_a_request_is_computed(pipeline: Pipeline, engine: Counting) -> None:
    body(pipeline, KNOWN)
    found = body(pipeline, {**KNOWN, "candidate_labels": ["music", "weather", "sport"]})
    alone = body(pipeline, {**KNOWN, "multi_label": True})

    assert engine.asked == [2, 1]
    assert sorted(found["labels"]) == ["music", "sport", "weather"]
    assert sorted(alone["labels"]) == ["sport", "weather"]


def test_another_template_or_text_is_another_pair(pipeline: Pipeline, engine: Counting) -> None:
    body(pipeline, KNOWN)
    body(pipeline, {**KNOWN, "hypothesis_template": "It is about {}."})
    body(pipeline, {**KNOWN, "sequences": "a lazy dog"})

    assert engine.asked == [2, 2, 2]


def test_an_error_is_not_kept(pipeline: Pipeline, engine: Counting) -> None:
    engine.error = "it does not fit into memory, even alone"
    answered = pipeline.answer_lines([b'{"sequences": "the quick fox", "candidate_labels": ["sport"]}'])
    engine.error = None

    assert answered.run.counts.errors == 1
    assert body(pipeline, {**KNOWN, "candidate_labels": ["sport"]})["labels"] == ["sport"]
    assert engine.asked == [1, 1]


def test_the_pair_that_was_not_asked_for_the_longest_makes_room() -> None:
    cache = ScoreCache(most=2)
    for text in ("a", "b"):
        cache.put(text, "h", GOOD)
    assert cache.get("a", "h") == GOOD

    cache.put("c", "h", GOOD)

    assert len(cache) == 2
    assert [cache.get(text, "h") for text in "abc"] == [GOOD, None, GOOD]


def test_the_border_of_text_and_hypothesis_is_part_of_the_pair() -> None:
    cache = ScoreCache()
    cache.put("ab", "c", GOOD)

    assert cache.get("a", "bc") is None


def test_a_payload_of_a_batch_is_answered_as_if_it_were_the_first(pipeline: Pipeline, engine: Counting) -> None:
    worker, line = Worker(pipeline, Settings()), json.dumps(KNOWN).encode()
    worker.answer([line, line])
    worker.answer([line])
    assert engine.asked == [2, 2]
