"""Fine-tune a decoder with LoRA, measure it on examples it has not seen, and register it.

    python -m examples.finetune_lora --output build/tuned --register harbour-chat --requested-by dee
    python -m examples.finetune_lora --base models/llama --data examples.jsonl --as adapter --output build/tuned

Without --base a small Llama is trained on the spot, and without --data it learns to summarise harbour logs: enough to see every
step on a laptop. --four-bit needs CUDA and bitsandbytes: NF4 with double quantisation, and a paged optimiser.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from examples import lora
from examples.corpus import training_logs
from examples.lora import CannotTrain, Example, Outcome, Settings
from examples.measuring import measured, publish, training_options, write_records
from examples.training import END, PAD, UNKNOWN, fit, tokenizer_of
from inference.models.configuration import TEXT_GENERATION
from inference.scoring.drift import profile
from promotion.client.artifact import manifest_of_folder

HELD_OUT = 0.1
LONGEST_ANSWER = 64
Pair = tuple[str, str]


def small_base(folder: Path, pairs: Sequence[Pair], *, steps: int, seed: int = 0, quiet: bool = False) -> Path:
    """Train a small Llama from scratch on all text of `pairs`: it has the vocabulary, but not the task."""
    torch.manual_seed(seed)
    texts = [text for pair in pairs for text in pair]
    tokenizer = tokenizer_of(texts, size=900, specials=(PAD, END, UNKNOWN), single="$A")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=False,
        )
    )  # fmt: skip
    # Every text is a completion of its own first token: reading, with nobody asking anything.
    rows = [tuple(ids) for ids in tokenizer(texts)["input_ids"] if len(ids) > 1]
    blocks, _ = lora.pack([Example(row[:1], row[1:]) for row in rows], 256, tokenizer.pad_token_id)
    chosen = lora.endless(blocks, Settings(rows=8, seed=seed))
    losses = (lambda some=some: lora.loss_of(model, some) for some in chosen)
    fit(model, losses, seconds=None, steps=steps, rate=3e-3, name="training a base", quiet=quiet)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def harbour_pairs(count: int) -> list[Pair]:
    return [(prompt_of(log.text), f" {log.summary}") for log in training_logs(count)]


def prompt_of(text: str) -> str:
    return f"Log: {text} Summary:"


def read_pairs(path: Path) -> list[Pair]:
    """JSON Lines with `prompt` and `completion`.

    Raises:
        CannotTrain: a line is something else; names it.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            found.append((str(record["prompt"]), str(record["completion"])))
        except (ValueError, KeyError, TypeError):
            raise CannotTrain(f"{path}:{number}: a line is an object with prompt and completion.") from None
    return found


def split(pairs: Sequence[Pair], share: float = HELD_OUT) -> tuple[list[Pair], list[Pair]]:
    """Split into training and test data; a pair is always in the same part, however many pairs there are."""
    learned: list[Pair] = []
    kept: list[Pair] = []
    for pair in dict.fromkeys(pairs):
        place = int(hashlib.sha256(pair[0].encode()).hexdigest()[:8], 16) / 0x1_0000_0000
        (kept if place < share else learned).append(pair)
    return learned, kept


def measure(folder: Path, held_out: Sequence[Pair], output: Path, outcome: Outcome, baseline: Any) -> dict[str, Any]:
    """Metrics of what will be registered, by the service's own pipeline and scoring; the held-out loss beside them."""
    parameters = {"max_new_tokens": LONGEST_ANSWER}
    records = (({"inputs": prompt, "parameters": parameters}, {"reference": said.strip()}) for prompt, said in held_out)
    inputs, references = write_records(output, records)
    metrics = measured(folder, inputs, references, output / "score", task=TEXT_GENERATION, baseline=baseline)
    metrics["metrics"]["held_out_loss"] = {"value": outcome.loss_after, "n": len(held_out)}
    return metrics


def card(outcome: Outcome, settings: Settings, *, base: str, data: str, learned: int, kind: str) -> dict[str, Any]:
    """Return a model card in SageMaker's schema, with the information for a decision."""
    said = (
        f"LoRA of rank {settings.rank} on {base}, {outcome.steps} steps, {outcome.trainable_share:.2%} of "
        f"{outcome.parameters:,} parameters trained; peak memory {outcome.peak_memory_bytes / 2**20:,.0f} MiB. "
        f"Loss on completions held out: {outcome.loss_before:.3f} before, {outcome.loss_after:.3f} after."
    )
    return {
        "model_overview": {"model_description": f"{base}, fine-tuned; registered {kind}."},
        "intended_uses": {
            "intended_uses": "Inputs like those it was tuned on. Whoever copies this example says here for what."
        },
        "training_details": {
            "objective_function": {
                "function": {"function": "Minimize", "facet": "Loss", "condition": "on completions"}
            },
            "training_observations": said,
            "training_job_details": {"training_datasets": [f"{data} ({learned} examples)"]},
        },
        "additional_information": {"caveats_and_recommendations": "What the base gets wrong, this may get wrong too."},
    }


def report(outcome: Outcome) -> str:
    return (
        f"trained {outcome.trainable:,} of {outcome.parameters:,} parameters ({outcome.trainable_share:.2%})\n"
        f"peak memory {outcome.peak_memory_bytes / 2**20:,.0f} MiB, blocks {outcome.filled:.0%} full\n"
        f"loss on held-out completions {outcome.loss_before:.3f} → {outcome.loss_after:.3f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except CannotTrain as error:
        print(f"finetune_lora: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    disable_progress_bar()
    if options.four_bit:
        lora.check_four_bit()
    pairs = read_pairs(options.data) if options.data else harbour_pairs(options.examples)
    learned, kept = split(pairs)
    kept = kept[: options.measured]
    output: Path = options.output
    base: Path = options.base or small_base(output.with_name(f"{output.name}-base"), learned, steps=options.base_steps)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    settings = Settings(
        steps=options.steps, rate=options.rate, rows=options.rows, block=options.block, rank=options.rank,
        alpha=2 * options.rank, four_bit=options.four_bit, seed=options.seed,
    )  # fmt: skip
    adapter = output.with_name(f"{output.name}-adapter")
    fill = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    outcome = lora.finetune(base, adapter, _encoded(tokenizer, learned), _encoded(tokenizer, kept), settings, fill=fill)
    print(report(outcome))
    shutil.rmtree(output, ignore_errors=True)
    merged = options.kind == "merged"
    folder = lora.merge(base, adapter, output) if merged else lora.with_base(base, adapter, output)
    baseline = profile(prompt for prompt, _ in learned)
    name, data = options.base_name or base.name, str(options.data.name if options.data else "examples/corpus.py")
    kind = "merged" if merged else "as an adapter"
    described = card(outcome, settings, base=name, data=data, learned=len(learned), kind=kind)
    _write(folder, described, baseline, outcome, settings)
    metrics = measure(folder, kept, output.with_name(f"{output.name}-score"), outcome, baseline)
    metadata = {
        "base_model": name,
        "base_manifest_sha256": manifest_of_folder(base).sha256,
        "method": f"LoRA rank {settings.rank} {kind}",
        "trainable_share": f"{outcome.trainable_share:.4f}",
        "training_data": data,
        "training_data_sha256": _digest(learned),
        "parameters": f"steps={settings.steps} rate={settings.rate} seed={settings.seed}",
        "licence": options.licence,
    }
    publish(
        folder, metrics, options, task=TEXT_GENERATION, baseline=baseline, metadata=metadata, card=described,
        generated_by=options.generated_by,
    )  # fmt: skip
    return 0


def _write(folder: Path, described: dict[str, Any], baseline: Any, outcome: Outcome, settings: Settings) -> None:
    """Beside the weights: the card as people read it, what drift is measured against, and how it was made."""
    said = described["training_details"]["training_observations"]
    caveats = described["additional_information"]["caveats_and_recommendations"]
    title = described["model_overview"]["model_description"]
    (folder / "README.md").write_text(f"# {title}\n\n{said}\n\n{caveats}\n", encoding="utf-8")
    (folder / "baseline.json").write_text(json.dumps(baseline), encoding="utf-8")
    made = {**asdict(outcome), "trainable_share": outcome.trainable_share, "settings": asdict(settings)}
    (folder / "finetuning.json").write_text(json.dumps(made, indent=1), encoding="utf-8")


def _encoded(tokenizer: Any, pairs: Iterable[Pair]) -> list[Example]:
    return [lora.encode(tokenizer, prompt, completion) for prompt, completion in pairs]


def _digest(pairs: Sequence[Pair]) -> str:
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = training_options("finetune_lora", __doc__)
    parser.add_argument("--base", type=Path, help="a decoder's folder, in safetensors (default: one trained now)")
    parser.add_argument("--base-name", help="the base's name (default: its folder)")
    parser.add_argument("--base-steps", type=int, default=300, help="training steps of that base")
    parser.add_argument("--data", type=Path, help="JSON Lines with prompt and completion (default: harbour logs)")
    parser.add_argument("--examples", type=int, default=4_000, help="number of harbour logs")
    parser.add_argument("--measured", type=int, default=100, help="the most held-out examples to measure with")
    parser.add_argument("--as", dest="kind", choices=["merged", "adapter"], default="merged")
    parser.add_argument(
        "--four-bit", action="store_true", help="NF4 with double quantisation; needs CUDA and bitsandbytes"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=2e-3, help="2e-4 for a large base")
    parser.add_argument("--rows", type=int, default=4, help="rows in a step")
    parser.add_argument("--block", type=int, default=256, help="tokens in a row")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--licence", default="apache-2.0")
    parser.add_argument("--generated-by", default="", help="the training job's ARN, if a job made this")
    return parser


if __name__ == "__main__":
    sys.exit(main())
