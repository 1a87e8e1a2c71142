"""A small T5, trained to summarise the first of several logs: ends of sequence are real, and texts have a score."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from examples.corpus import logs, training_logs
from examples.training import END, PAD, UNKNOWN, batches, fit, padded, tokenizer_of

FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench" / "inference"
LONGEST = 1_024
ROUGE = ("rouge1", "rouge2", "rougeL")
Rows = Sequence[Sequence[int]]
# Words in each of 60 news articles.
ARTICLES = (
    198, 392, 808, 531, 580, 334, 742, 621, 609, 888, 1360, 647, 1082, 416, 791, 481, 663, 1447, 403, 346, 496, 1398, 594,
    805, 666, 584, 563, 1537, 192, 443, 751, 879, 884, 1677, 445, 313, 980, 345, 1144, 333, 602, 423, 580, 814, 368, 576,
    638, 672, 889, 1447, 418, 615, 677, 715, 330, 632, 899, 709, 967, 381,
)  # fmt: skip


def trained() -> tuple[Any, Any]:
    """The model, of 6.6 million parameters, and its tokenizer; trained where there is none yet."""
    folder = FOLDER / "model"
    if not (folder / "model.safetensors").exists():
        train(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = T5ForConditionalGeneration.from_pretrained(folder, local_files_only=True).eval()
    return model, tokenizer


def train(folder: Path) -> None:
    """Train it into `folder`, in minutes."""
    torch.manual_seed(0)
    examples, chance = training_logs(12_000), random.Random(5)
    texts = [text for log in examples[:4_000] for text in (log.text, log.summary)]
    tokenizer = tokenizer_of(texts, size=1_200, specials=(PAD, END, UNKNOWN), single=f"$A {END}")
    joined = [
        " ".join([log.text, *(chance.choice(examples).text for _ in range(chance.choice((0, 0, 0, 0, 1, 1, 2, 4))))])
        for log in examples
    ]
    sources = tokenizer(joined)["input_ids"]
    targets = tokenizer([log.summary for log in examples])["input_ids"]
    config = T5Config(
        vocab_size=(len(tokenizer) + 7) // 8 * 8, d_model=256, d_kv=64, d_ff=512, num_layers=4, num_heads=4,
        dropout_rate=0.0, feed_forward_proj="gated-gelu", decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = T5ForConditionalGeneration._from_config(config, attn_implementation="eager")

    def losses() -> Iterator[Callable[[], torch.Tensor]]:
        for batch in batches([len(row) for row in sources], 24, 0):

            def loss(batch: list[int] = batch) -> torch.Tensor:
                tokens = padded([sources[index] for index in batch], 0)
                labels = padded([targets[index] for index in batch], -100)
                found: torch.Tensor = model(input_ids=tokens, attention_mask=(tokens != 0).long(), labels=labels).loss
                return found

            yield loss

    fit(model, losses(), seconds=None, steps=700, rate=2e-3, name="training")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def inputs(tokenizer: Any, count: int, scale: float) -> tuple[list[tuple[int, ...]], list[str]]:
    """Logs joined to the articles' lengths, as tokens, and the summaries of the first of each."""
    source, texts, references = logs(10_000, 7), [], []
    for words in ARTICLES[:count]:
        first = next(source)
        text = first.text
        while len(text.split()) < words * scale:
            text += " " + next(source).text
        texts.append(text)
        references.append(first.summary)
    return [tuple(row) for row in tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]], references


def rouge(tokenizer: Any, said: Rows, references: list[str]) -> dict[str, float]:
    """Mean F-measures, 0 to 100."""
    scorer = RougeScorer(list(ROUGE), use_stemmer=True)
    texts = tokenizer.batch_decode([list(row) for row in said], skip_special_tokens=True)
    scores = [scorer.score(a, b) for a, b in zip(references, texts, strict=True)]
    return {kind: 100 * statistics.mean(score[kind].fmeasure for score in scores) for kind in ROUGE}
