"""On texts as people wrote them: the engine says what `generate` says, half precision costs little, labels keep their order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers import pipeline as transformers_pipeline

from examples import train_summarizer
from examples.corpus import held_out_logs, training_logs
from examples.training import END, PAD, UNKNOWN, tokenizer_of
from inference.engines import Prompt
from inference.engines.encoder_decoder import EncoderDecoderEngine, EngineConfig, text_engine
from inference.engines.generate import GenerateEngine
from inference.engines.nli import NliEngine
from inference.models.loading import load
from inference.records.parameters import Generation
from inference.scoring.metrics import text_scorer, text_scores
from inference.tasks.pipeline import Pipeline
from inference.tasks.zero_shot import ZeroShot
from tests.inference.real_texts import ARTICLES, RESOLUTIONS, articles, resolutions, source

LONGEST = 512


@cache
def tokenized() -> tuple[Any, list[tuple[int, ...]]]:
    texts = articles(20)
    tokenizer = tokenizer_of(texts, size=700, specials=(PAD, END, UNKNOWN), single=f"$A {END}")
    rows = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
    return tokenizer, [tuple(row) for row in rows]


def t5() -> PreTrainedModel:
    torch.manual_seed(4)
    config = T5Config(
        vocab_size=len(tokenized()[0]), d_model=48, d_kv=16, d_ff=64, num_layers=2, num_heads=3, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, initializer_factor=3.0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight[1] *= 2
        model.lm_head.weight[0] = 0
    return model.eval()


def bart() -> PreTrainedModel:
    torch.manual_seed(5)
    config = BartConfig(
        vocab_size=len(tokenized()[0]), d_model=48, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4, init_std=0.4, dropout=0.0,
        max_position_embeddings=LONGEST, pad_token_id=0, eos_token_id=1, bos_token_id=2, decoder_start_token_id=1,
        forced_eos_token_id=None,
    )  # fmt: skip
    return BartForConditionalGeneration(config).eval()


@pytest.mark.parametrize("texts", [source(ARTICLES)])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 4}, {"do_sample": True, "top_p": 0.9}], ids=str)
@pytest.mark.parametrize("make", [t5, bart])
def test_tokens_are_those_of_generate_on_articles(make: Any, settings: dict[str, Any], texts: str) -> None:
    model = make()
    model.generation_config.max_length = None
    wanted = Generation(max_new_tokens=24, **settings)
    prompts = [Prompt(row, wanted, key) for key, row in enumerate(tokenized()[1])]
    engine = text_engine(model)
    assert isinstance(engine, EncoderDecoderEngine)

    found, expected = dict(engine.generate(prompts)), dict(GenerateEngine(model).generate(prompts))

    assert [found[place].sequences for place in range(20)] == [expected[place].sequences for place in range(20)]
    assert engine.description.name == "encoder-decoder"
    assert len({found[place].sequences for place in range(20)}) > 10


@pytest.fixture(scope="module")
def summarizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a few seconds: it has learned what a summary looks like, and gets much of it wrong."""
    folder = tmp_path_factory.mktemp("models") / "summarizer"
    return train_summarizer.train(folder, steps=120, ordinary=training_logs(3_000), quiet=True)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 4}], ids=str)
def test_half_precision_costs_less_than_half_a_point_of_rouge(summarizer: Path, settings: dict[str, Any]) -> None:
    loaded = load(summarizer)
    engine = text_engine(loaded.model)
    assert isinstance(engine, EncoderDecoderEngine)
    half = EncoderDecoderEngine(
        loaded.model, engine.rules, config=replace(EngineConfig.of(loaded.model.device), dtype=torch.bfloat16)
    )
    logs, scorer = held_out_logs(120), text_scorer()
    prompts = [
        Prompt(tuple(row), Generation(max_new_tokens=48, **settings), key)
        for key, row in enumerate(loaded.tokenizer([log.text for log in logs])["input_ids"])
    ]

    def rouge(one: EncoderDecoderEngine) -> dict[str, float]:
        found = dict(one.generate(prompts))
        texts = loaded.tokenizer.batch_decode(
            [list(found[place].sequences[0]) for place in range(len(prompts))], skip_special_tokens=True
        )
        rows = [text_scores(scorer, text, [log.summary]) for text, log in zip(texts, logs, strict=True)]
        return {name: 100 * sum(row[name] for row in rows) / len(rows) for name in ("rouge1", "rouge2", "rougeL")}

    exact, rounded = rouge(engine), rouge(half)

    assert half.description.dtype == "bfloat16"
    assert exact["rouge1"] > 20
    assert all(abs(exact[name] - rounded[name]) <= 0.5 for name in exact), (exact, rounded)


@pytest.fixture(scope="module", params=["bart", "bert"])
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, wide enough that labels are told apart: trained for seconds, a model gives all the same score."""
    posts, labels = resolutions(200)
    tokenizer = tokenizer_of(
        [*posts, *labels * 5], size=700, specials=("<s>", PAD, END, UNKNOWN), single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
    )  # fmt: skip
    classes = dict(enumerate(("contradiction", "neutral", "entailment")))
    shared = {"vocab_size": len(tokenizer), "max_position_embeddings": LONGEST, "pad_token_id": 1, "id2label": classes,
              "label2id": {name: place for place, name in classes.items()}}  # fmt: skip
    torch.manual_seed(1)
    if request.param == "bart":
        model: PreTrainedModel = BartForSequenceClassification(
            BartConfig(
                d_model=48, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64, init_std=0.1,
                encoder_attention_heads=4, decoder_attention_heads=4, dropout=0.0, bos_token_id=0, eos_token_id=2,
                decoder_start_token_id=2, **shared,
            )
        )  # fmt: skip
    else:
        model = BertForSequenceClassification(
            BertConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                       initializer_range=0.2, type_vocab_size=2, **shared)
        )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / str(request.param)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def spread(scores: Mapping[str, float]) -> float:
    return max(scores.values()) - min(scores.values())


@pytest.mark.parametrize("texts", [source(RESOLUTIONS)])
@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_are_scored_and_ordered_as_one_call_a_post(classifier: Path, multi_label: bool, texts: str) -> None:
    posts, labels = resolutions(60)
    posts = [*posts, *posts[:5]]
    loaded = load(classifier)
    peer = transformers_pipeline("zero-shot-classification", model=loaded.model, tokenizer=loaded.tokenizer)
    record = {"candidate_labels": labels, "multi_label": multi_label}
    lines = [json.dumps({"sequences": post, **record}).encode() for post in posts]

    # Small batches, so that posts of all lengths meet.
    answered = Pipeline(ZeroShot(loaded, NliEngine(loaded.model, token_budget=400))).answer_lines(lines)

    assert answered.run.counts.repeated_inputs >= 5
    seen = []
    for post, line in zip(posts, answered.lines, strict=True):
        found, expected = json.loads(line), peer(post, candidate_labels=labels, multi_label=multi_label)
        scores = dict(zip(expected["labels"], expected["scores"], strict=True))
        assert dict(zip(found["labels"], found["scores"], strict=True)) == pytest.approx(scores, abs=1e-5)
        in_order = [scores[label] for label in found["labels"]]
        assert all(one >= other - 1e-6 for one, other in pairwise(in_order))
        seen.append(spread(scores))
    assert max(seen) > 0.05


@pytest.mark.parametrize("texts", [source(RESOLUTIONS)])
def test_scores_in_float16_are_within_a_thousandth_and_in_the_same_order(classifier: Path, texts: str) -> None:
    posts, labels = resolutions(200)
    # Not all: the more there are, the more are so close that another processor's rounding orders them anew.
    lines = [json.dumps({"sequences": post, "candidate_labels": labels[:8]}).encode() for post in posts]

    def scores(dtype: str) -> list[dict[str, float]]:
        answered = Pipeline(ZeroShot(load(classifier, environment={"INFERENCE_DTYPE": dtype}))).answer_lines(lines)
        assert answered.run.counts.engine["dtype"] == dtype
        found = [json.loads(line) for line in answered.lines]
        return [dict(zip(one["labels"], one["scores"], strict=True)) for one in found]

    exact, rounded = scores("float32"), scores("float16")

    for one, other in zip(exact, rounded, strict=True):
        assert other == pytest.approx(one, abs=1e-3)
        # Two labels change places only where a thousandth would not tell them apart.
        in_order = [one[label] for label in other]
        assert all(first >= second - 1e-3 for first, second in pairwise(in_order))
    assert max(map(spread, exact)) > 0.05
    assert sum(list(one) == list(other) for one, other in zip(exact, rounded, strict=True)) > 0.8 * len(posts)
