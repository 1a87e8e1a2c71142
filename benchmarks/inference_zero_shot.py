"""Zero-shot classification against the transformers pipeline, one call a premise; part of benchmarks.inference."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import BartConfig, BartForSequenceClassification
from transformers import pipeline as transformers_pipeline

from examples.corpus import logs
from examples.training import END, PAD, UNKNOWN, tokenizer_of
from inference.engines import Pair
from inference.engines.nli import NliEngine
from inference.parameters import Labels
from inference.tasks import ranked

PREMISES, MOST_DIFFERENCE = 48, 1e-3
LABELS = ("weather", "a delay", "grain", "timber", "a signature", "an accident", "the canteen", "a school")
CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}
Answers = list[dict[str, Any]]


def measure(rounds: int) -> dict[str, Any]:
    """Ratios of CPU time; `ratio` is the best of those whose scores and order hold."""
    texts = [log.text for log in logs(PREMISES, 11)]
    chance = random.Random(3)
    # A fifth are repeats, as in posts and tickets.
    texts = [chance.choice(texts) if chance.random() < 0.2 else text for text in texts]
    tokenizer = tokenizer_of(
        texts + list(LABELS), size=600, specials=("<s>", PAD, END, UNKNOWN), single="<s> $A </s>",
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
    half = BartForSequenceClassification(config).eval()
    half.load_state_dict(model.state_dict())
    half = half.to(torch.bfloat16)
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
    figures: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in model.parameters()), "ratio": None}
    for name in ("fp32", "fp32, padded", "bf16"):
        ratio = round(min(seconds["pipeline"]) / min(seconds[name]), 3)
        pairs = list(zip(answers[name], answers["pipeline"], strict=True))
        difference = max(
            abs(score - dict(zip(other["labels"], other["scores"], strict=True))[label])
            for one, other in pairs
            for label, score in zip(one["labels"], one["scores"], strict=True)
        )
        ordered = sum(one["labels"] == other["labels"] for one, other in pairs) / len(pairs)
        figures[name] = {"ratio": ratio, "most_difference": difference, "same_order": ordered}
        if difference <= MOST_DIFFERENCE and ordered == 1:
            figures["ratio"] = max(ratio, figures["ratio"] or 0.0)
    return figures
