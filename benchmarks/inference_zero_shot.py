"""Zero-shot classification against the transformers pipeline, one call a premise; part of benchmarks.inference."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import BartConfig, BartForSequenceClassification
from transformers import pipeline as transformers_pipeline

from examples.corpus import logs
from examples.training import END, PAD, UNKNOWN, tokenizer_of
from inference.engines import Pair
from inference.engines.nli import NliEngine
from inference.records.parameters import Labels
from inference.tasks.tasks import ranked

PREMISES, MOST_DIFFERENCE = 48, 1e-3
# Words in each of nine posts, a tenth of which are shorter than the first and a tenth longer than the last.
POSTS = (6, 8, 10, 12, 14, 15, 17, 20, 22)
LABELS = ("weather", "a delay", "grain", "timber", "a signature", "an accident", "the canteen", "a school")
CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}
Answers = list[dict[str, Any]]


def measure(rounds: int) -> dict[str, Any]:
    """Ratios of CPU time for logs of 50 words and for posts of 14; `ratio`, for logs, is the best whose scores and order hold."""
    whole = [log.text for log in logs(PREMISES, 11)]
    posts = [" ".join(text.split()[: POSTS[place % len(POSTS)]]) for place, text in enumerate(whole)]
    tokenizer = tokenizer_of(
        whole + list(LABELS), size=600, specials=("<s>", PAD, END, UNKNOWN), single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
    )  # fmt: skip
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=256, encoder_layers=3, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=1_024, decoder_ffn_dim=1_024, max_position_embeddings=512,
        dropout=0.0, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, id2label=CLASSES,
        label2id={name: place for place, name in CLASSES.items()}, num_labels=3,
    )  # fmt: skip
    model = BartForSequenceClassification(config).eval()
    half = copy.deepcopy(model).to(torch.bfloat16)
    texts = {"logs": repeating(whole), "posts": repeating(posts)}
    found = {name: _compare(some, tokenizer, model, half, rounds) for name, some in texts.items()}
    ratio = max(
        (one["ratio"] for one in found["logs"].values() if one["most_difference"] <= MOST_DIFFERENCE and one["same_order"] == 1),
        default=None,
    )  # fmt: skip
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "ratio": ratio, "texts": found}


def repeating(texts: Sequence[str]) -> list[str]:
    """A fifth are repeats, as in posts and tickets."""
    chance = random.Random(3)
    return [chance.choice(texts) if chance.random() < 0.2 else text for text in texts]


def _compare(texts: list[str], tokenizer: Any, model: Any, half: Any, rounds: int) -> dict[str, dict[str, float]]:
    """Each variant's ratio to one call a premise, and how far its scores are from those."""
    settings = Labels(LABELS)
    pipe = transformers_pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)

    def one_by_one() -> Answers:
        return [pipe(text, candidate_labels=list(LABELS)) for text in texts]

    def own(engine: NliEngine) -> Callable[[], Answers]:
        def run() -> Answers:
            different = list(dict.fromkeys(texts))
            pairs = [(text, hypothesis) for text in different for hypothesis in settings.hypotheses]
            tokens = tokenizer([text for text, _ in pairs], [one for _, one in pairs])["input_ids"]
            found = dict(engine.score([Pair(tuple(row), None) for row in tokens]))
            step = len(LABELS)
            answers = {
                text: ranked(text, settings, [found[place * step + label] for label in range(step)])
                for place, text in enumerate(different)
            }
            return [answers[text] for text in texts]

        return run

    variants = {"pipeline": one_by_one, "fp32": own(NliEngine(model)), "bf16": own(NliEngine(half)),
                "fp32, padded": own(NliEngine(model, packed=False))}  # fmt: skip
    seconds: dict[str, list[float]] = {}
    answers: dict[str, Answers] = {}
    for _ in range(rounds):
        for name, run in variants.items():
            begun = time.thread_time()
            answers[name] = run()
            seconds.setdefault(name, []).append(time.thread_time() - begun)
    figures = {}
    for name in ("fp32", "fp32, padded", "bf16"):
        pairs = list(zip(answers[name], answers["pipeline"], strict=True))
        figures[name] = {
            "cpu_s": min(seconds[name]),
            "ratio": round(min(seconds["pipeline"]) / min(seconds[name]), 3),
            "most_difference": max(
                abs(score - dict(zip(other["labels"], other["scores"], strict=True))[label])
                for one, other in pairs
                for label, score in zip(one["labels"], one["scores"], strict=True)
            ),
            "same_order": sum(one["labels"] == other["labels"] for one, other in pairs) / len(pairs),
        }
    return figures
