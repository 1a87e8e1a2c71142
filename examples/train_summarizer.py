"""Train a small T5 from scratch to summarise harbour logs, measure it on logs it has not seen, and register it.

    python -m examples.train_summarizer --seconds 60 --output build/summarizer
    python -m examples.train_summarizer --output build/summarizer --register harbour-logs --requested-by dee

A few seconds make a bad model, a minute a good one; --continue-from makes a good one a little better.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from examples.corpus import Log, held_out_logs, training_logs
from examples.measuring import length_options, measured, publish, training_options, write_records
from examples.registering import pack, register
from examples.training import END, PAD, UNKNOWN, batches, fit, padded, tokenizer_of
from inference.models.configuration import TEXT_TO_TEXT
from inference.scoring.drift import profile

TASK = TEXT_TO_TEXT
LONGEST_SUMMARY = 64
__all__ = ["baseline", "main", "measure", "pack", "register", "train", "write_held_out"]


def train(
    folder: Path,
    *,
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    continue_from: Path | None = None,
    corpus: Sequence[Log] = (),
    ordinary: Sequence[Log] | None = None,
    quiet: bool = False,
) -> Path:
    """Train for `seconds` or `steps` and save into `folder`, in Hugging Face's layout; returns `folder`.

    `corpus` are logs to learn from besides the `ordinary` ones.
    """
    if (seconds is None) == (steps is None):
        raise ValueError("Give either seconds or steps.")
    torch.manual_seed(seed)
    disable_progress_bar()
    # More threads on few cores are slower here, and make sums depend on the machine.
    torch.set_num_threads(1)
    examples = [*corpus, *(training_logs() if ordinary is None else ordinary)]
    if continue_from is None:
        tokenizer = tokenizer_of(
            [text for log in examples[:4000] for text in (log.text, log.summary)],
            size=1_200,
            specials=(PAD, END, UNKNOWN),
            single=f"$A {END}",
        )
        model = _small_t5(tokenizer)
    else:
        tokenizer = AutoTokenizer.from_pretrained(continue_from, local_files_only=True)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            continue_from, local_files_only=True, use_safetensors=True, attn_implementation="eager"
        )
    rate = 3e-3 if continue_from is None else 1e-3
    losses = _losses(model, tokenizer, examples, seed if continue_from is None else seed + 1)
    fit(model, losses, seconds=seconds, steps=steps, rate=rate, name="training", quiet=quiet)
    model.generation_config.max_new_tokens = LONGEST_SUMMARY
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "baseline.json").write_text(json.dumps(baseline()))
    return folder


def measure(folder: Path, output: Path | None = None) -> dict[str, Any]:
    """Metrics of the model in `folder` on held-out logs, by the service's own scoring."""
    with tempfile.TemporaryDirectory() as scratch:
        return measured(folder, *write_held_out(Path(scratch)), output, task=TASK, baseline=baseline())


def write_held_out(folder: Path, logs: Sequence[Log] | None = None) -> tuple[Path, Path]:
    """`input.jsonl` and `references.jsonl` as an inference run takes them."""
    logs = held_out_logs() if logs is None else logs
    records = (({"text_inputs": log.text, "day": log.day}, {"highlights": log.summary}) for log in logs)
    return write_records(folder, records)


def baseline() -> dict[str, Any]:
    """Return the profile of the training inputs, against which drift is measured."""
    return profile(log.text for log in training_logs(4_000))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = training_options("train_summarizer", __doc__)
    length_options(parser)
    parser.add_argument("--continue-from", type=Path, help="a folder that an earlier call has written")
    options = parser.parse_args(arguments)
    seconds = 60.0 if options.seconds is None and options.steps is None else options.seconds
    train(options.output, seconds=seconds, steps=options.steps, seed=options.seed, continue_from=options.continue_from)
    metrics = measure(options.output, options.output.with_name(f"{options.output.name}-score"))
    publish(options.output, metrics, options, task=TASK, baseline=baseline(), metadata={"licence": "apache-2.0"})
    return 0


def _small_t5(tokenizer: Any) -> T5ForConditionalGeneration:
    config = T5Config(
        vocab_size=(len(tokenizer) + 7) // 8 * 8,
        d_model=128,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    # Eager attention trains faster than the fused kind at this size.
    return T5ForConditionalGeneration._from_config(config, attn_implementation="eager")


def _losses(model: Any, tokenizer: Any, examples: Sequence[Log], seed: int) -> Iterator[Callable[[], Tensor]]:
    sources = tokenizer([log.text for log in examples])["input_ids"]
    targets = tokenizer([log.summary for log in examples])["input_ids"]
    pad = tokenizer.pad_token_id
    for batch in batches([len(row) for row in sources], 64, seed):

        def loss(batch: list[int] = batch) -> Tensor:
            tokens = padded([sources[index] for index in batch], pad)  # (rows, source length)
            labels = padded([targets[index] for index in batch], -100)  # (rows, target length); -100 is not learned
            found: Tensor = model(input_ids=tokens, attention_mask=(tokens != pad).long(), labels=labels).loss
            return found

        yield loss


if __name__ == "__main__":
    sys.exit(main())
