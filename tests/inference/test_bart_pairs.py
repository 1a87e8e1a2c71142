"""BART as a classifier of pairs, without padding: the logits are those of transformers, one pair at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForSequenceClassification, PreTrainedModel

from inference.engines import Description, Entailment, Pair
from inference.engines.bart_pairs import BartPairs
from inference.engines.nli import NliEngine
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from inference.tasks.zero_shot import ZeroShot

CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}
VOCABULARY, END = 64, 2


def bart(**changes: Any) -> PreTrainedModel:
    torch.manual_seed(6)
    config = {
        "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 40, "encoder_attention_heads": 4, "decoder_attention_heads": 2, "init_std": 0.4,
        "max_position_embeddings": 64, "dropout": 0.0, "id2label": CLASSES,
        "label2id": {name: place for place, name in CLASSES.items()},
    }  # fmt: skip
    return BartForSequenceClassification(BartConfig(**{**config, **changes})).eval()


MODELS: dict[str, dict[str, Any]] = {
    "as published": {},
    "scaled, relu": {"scale_embedding": True, "activation_function": "relu"},
    "one layer each": {"encoder_layers": 1, "decoder_layers": 1},
    "more layers below": {"encoder_layers": 1, "decoder_layers": 3, "decoder_attention_heads": 8},
}


def pairs(count: int = 25, *, ends: Sequence[int] = ()) -> list[Pair]:
    """Of all lengths, some of them equal; those at `ends` hold an end token in the middle."""
    chance = torch.Generator().manual_seed(3)
    found = []
    for place in range(count):
        length = int(torch.randint(2, 12, (), generator=chance)) * 3
        tokens = torch.randint(3, VOCABULARY, (length,), generator=chance).tolist()
        if place in ends:
            tokens[length // 2] = END
        found.append(Pair((0, *tokens, END), None))
    return found


def logits(engine: NliEngine, asked: Sequence[Pair]) -> list[tuple[float, float]]:
    found: dict[int, Entailment] = dict(engine.score(asked))
    return [(found[place].contradiction, found[place].entailment) for place in range(len(asked))]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ends", [(), (3, 4, 9)], ids=["plain", "ends inside"])
def test_logits_are_those_of_transformers(name: str, ends: Sequence[int]) -> None:
    model, asked = bart(**MODELS[name]), pairs(ends=ends)

    engine = NliEngine(model, token_budget=200)
    found = logits(engine, asked)

    assert engine.description.name == "bart-pairs"
    for pair, scored in zip(asked, found, strict=True):
        with torch.inference_mode():
            [expected] = model(input_ids=torch.tensor([pair.tokens])).logits.tolist()
        assert scored == pytest.approx((expected[0], expected[2]), abs=1e-4)


@pytest.mark.parametrize("budget", [1, 200, 10_000])
def test_the_lever_changes_speed_only(budget: int) -> None:
    model, asked = bart(), pairs(ends=(1, 2))

    packed, padded = (NliEngine(model, token_budget=budget, packed=wanted) for wanted in (True, False))

    assert padded.description.name == "nli"
    for one, other in zip(logits(packed, asked), logits(padded, asked), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_pair_that_does_not_end_with_the_end_token_is_left_to_transformers() -> None:
    model = bart()
    asked = [Pair((0, 5, END, 9), None), *pairs(3)]

    found = logits(NliEngine(model), asked)

    with torch.inference_mode():
        [expected] = model(input_ids=torch.tensor([asked[0].tokens])).logits.tolist()
    assert found[0] == pytest.approx((expected[0], expected[2]), abs=1e-4)


def test_a_pair_that_fits_nowhere_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, of_batch = pairs(6), BartPairs.logits
    huge = asked[2].tokens

    def little_memory(engine: BartPairs, batch: Sequence[Sequence[int]]) -> torch.Tensor:
        if huge in batch:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return of_batch(engine, batch)

    monkeypatch.setattr(BartPairs, "logits", little_memory)
    found = dict(NliEngine(bart()).score(asked))

    assert [place for place, one in found.items() if one.error] == [2]
    assert "does not fit into memory" in str(found[2].error)


def test_half_precision_stays_close() -> None:
    model = bart(init_std=0.1)
    exact = logits(NliEngine(model), pairs())
    half = logits(NliEngine(model.to(torch.bfloat16)), pairs())

    assert (
        max(abs(a - b) for one, other in zip(exact, half, strict=True) for a, b in zip(one, other, strict=True)) < 0.1
    )


def test_numbers_beyond_float16_are_computed_in_bfloat16_from_then_on() -> None:
    # Weights of one factor leave float16's range in between, and not at the end.
    def large() -> PreTrainedModel:
        model = bart(init_std=0.1)
        with torch.no_grad():
            model.model.encoder.layers[0].fc1.weight.mul_(1e6)
            model.model.encoder.layers[0].fc1.weight.clamp_(-6e4, 6e4)
            model.model.encoder.layers[0].fc2.weight.mul_(1e2)
        return model.half()

    half = NliEngine(large())
    assert half.description == Description("nli", "cpu", "float16")
    found = logits(half, pairs())

    assert half.description == Description("bart-pairs", "cpu", "bfloat16")
    assert found == logits(NliEngine(large().bfloat16()), pairs())
    assert all(map(isfinite, (number for row in found for number in row)))


def test_a_pair_without_a_number_costs_only_itself() -> None:
    model, asked = bart(), pairs(6)
    odd = asked[2].tokens[1]
    with torch.no_grad():
        model.get_input_embeddings().weight[odd] = float("nan")

    found = dict(NliEngine(model, token_budget=1).score(asked))

    assert {place for place, one in found.items() if one.error} == {
        place for place, pair in enumerate(asked) if odd in pair.tokens
    }
    assert found[2].error == "the model computes no number for it in float32"


@pytest.mark.parametrize("packed", [True, False])
def test_a_text_with_an_end_token_in_it_spoils_nobody_elses_answer(bart_folder: Path, packed: bool) -> None:
    loaded = load(bart_folder)
    pipeline = Pipeline(ZeroShot(loaded, NliEngine(loaded.model, packed=packed)))
    texts = ["the fox", "the </s> fox </s>", "a lazy dog"]
    lines = [json.dumps({"sequences": text, "candidate_labels": ["sport", "music"]}).encode() for text in texts]

    answered = pipeline.answer_lines(lines)

    assert answered.run.counts.errors == 0
    alone = [json.loads(pipeline.answer_lines([line]).lines[0])["scores"] for line in lines]
    for line, scores in zip(answered.lines, alone, strict=True):
        assert json.loads(line)["scores"] == pytest.approx(scores, abs=1e-4)
