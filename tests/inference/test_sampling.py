"""Sampling belongs to the record, and is sampling: it follows the distribution that transformers would draw from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from inference.engines.sampling import RecordSampler, pick, record_key, uniform_draws
from inference.tasks.pipeline import Pipeline
from tests.inference.real_time import answer_record
from tests.inference.samples import sentences

VOCABULARY = 12
DRAWS = 20_000


def drawn(scores: torch.Tensor, **settings: Any) -> torch.Tensor:
    """Return how often each token is drawn for one row of scores."""
    sampler = RecordSampler(list(range(DRAWS)), 1, 1, **settings)
    picked = sampler(torch.empty(0), scores.repeat(DRAWS, 1)).argmax(dim=-1)
    return torch.bincount(picked, minlength=VOCABULARY)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
        {"temperature": 0.7, "top_k": 5, "top_p": 1.0},
        {"temperature": 1.5, "top_k": 50, "top_p": 0.8},
        {"temperature": 3.0, "top_k": 6, "top_p": 0.7},
    ],
)
def test_tokens_follow_the_distribution_that_transformers_makes(settings: Mapping[str, Any]) -> None:
    scores = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(5)) * 2
    warped = TemperatureLogitsWarper(settings["temperature"])(torch.empty(0), scores)
    if settings["top_k"]:
        warped = TopKLogitsWarper(settings["top_k"])(torch.empty(0), warped)
    if settings["top_p"] < 1:
        warped = TopPLogitsWarper(settings["top_p"])(torch.empty(0), warped)
    expected = warped.softmax(dim=-1)[0].double()

    found = drawn(scores, **settings)

    possible = expected > 0
    assert found[~possible].sum() == 0
    assert chisquare(found[possible], expected[possible] / expected.sum() * DRAWS).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_sampling_does_not_depend_on_a_neighbours_top_k(dtype: torch.dtype) -> None:
    """Of equal scores, of which bfloat16 has many and which are forced here, the first are kept, be all sorted or a few."""
    scores = (3 * torch.randn(400, 500, generator=torch.Generator().manual_seed(1))).to(dtype)
    scores[:, ::3] = scores[:, 1::3][:, :1].abs()
    scores[:, 5], scores[:, 6], scores[:, 7:9] = -0.0, 0.0, float("-inf")
    draws = torch.rand(400, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def picked(keep: int, neighbour: int) -> list[int]:
        rows, count = torch.cat((scores, scores[:1])), len(scores)
        limits = [keep] * count + [neighbour]
        heat, share = [1.3] * (count + 1), [0.9] * (count + 1)
        tokens = pick(rows, torch.cat((draws, draws[:1])), temperature=heat, top_k=limits, top_p=share)
        return tokens[:count].tolist()

    for keep in (1, 7, 200):
        assert picked(keep, 1) == picked(keep, 300) == picked(keep, 0)
    assert len(set(picked(200, 1))) > 50


def test_draws_of_one_record_are_its_own() -> None:
    first, again = uniform_draws(record_key(1, "a"), 0, 8), uniform_draws(record_key(1, "a"), 0, 8)

    assert first.tolist() == again.tolist()
    for other in (record_key(2, "a"), record_key(1, "b")):
        assert uniform_draws(other, 0, 8).tolist() != first.tolist()
    assert uniform_draws(record_key(1, "a"), 1, 8).tolist() != first.tolist()


def test_a_seed_gives_the_same_text_in_whatever_batch_it_lands(texts: Pipeline) -> None:
    settings = {"do_sample": True, "temperature": 3.0, "num_return_sequences": 2}
    asked = [{"id": 1, "text_inputs": "the quick fox", "seed": 7, **settings}]
    others = [{"text_inputs": text, "seed": place, **settings} for place, text in enumerate(sentences(25))]

    def answer(records: list[dict[str, Any]], place: int) -> Any:
        lines = [json.dumps(record).encode() for record in records]
        return json.loads(texts.answer_lines(lines).lines[place])["generated_texts"]

    alone = answer(asked, 0)
    assert alone == answer(asked + others, 0) == answer(others + asked, 25)
    assert alone[0] != alone[1]
    assert alone != answer([{**asked[0], "seed": 8}], 0)


def test_sampling_beams_belong_to_the_record_too(texts: Pipeline) -> None:
    record = {"text_inputs": "the quick fox", "seed": 7, "do_sample": True, "num_beams": 3}

    alone, _ = answer_record(texts, record)
    torch.manual_seed(123)
    again, _ = answer_record(texts, {**record, "text_inputs": ["a dog", "the quick fox"]})

    assert again[1] == alone


def test_sampling_leaves_the_global_generator_where_it_was(texts: Pipeline) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)

    answer_record(texts, {"text_inputs": "fox", "do_sample": True, "num_beams": 2})
    answer_record(texts, {"text_inputs": "fox", "do_sample": True})

    assert torch.rand(3).tolist() == expected


def test_a_request_without_a_seed_can_be_repeated(t5_folder: Path, texts: Pipeline) -> None:
    record = {"text_inputs": "the quick fox", "do_sample": True}

    assert answer_record(texts, record)[0] == answer_record(texts, record)[0]
