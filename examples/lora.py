"""LoRA on a decoder with PEFT: examples packed into full blocks, loss on completions alone, four bits where there is a GPU."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import resource
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from examples.training import half_precision
from inference.models.lora import BASE_FOLDER, BOUND
from promotion.client.artifact import manifest_of_folder

IGNORED = -100  # what torch's cross entropy leaves out


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and of what should follow it, its end included."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True)
class Block:
    """Several examples in one row: int64, (length,) each. `segments` numbers them from 0; -1 is padding."""

    tokens: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor


@dataclass(frozen=True)
class Settings:
    """Settings of a fine-tuning. `rank` and `alpha` are LoRA's; `block` is the number of tokens in a row."""

    steps: int = 200
    rate: float = 2e-4
    rows: int = 4
    block: int = 512
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    four_bit: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """Cost and results of a fine-tuning."""

    trainable: int
    parameters: int
    steps: int
    loss_before: float
    loss_after: float
    completion_tokens: int
    filled: float
    peak_memory_bytes: int

    @property
    def trainable_share(self) -> float:
        return self.trainable / self.parameters


class CannotTrain(Exception):
    """This machine or this base can't be used; the message has an alternative."""


def encode(tokenizer: Any, prompt: str, completion: str) -> Example:
    """As the server will see it: a prompt with the tokenizer's own beginning, then the completion and the end."""
    end = tokenizer.eos_token_id
    asked = tokenizer(prompt)["input_ids"]
    told = tokenizer(completion, add_special_tokens=False)["input_ids"]
    return Example(tuple(asked), (*told, end))


def pack(examples: Sequence[Example], length: int, fill: int) -> tuple[list[Block], int]:
    """Examples in rows of `length`, each into the first row with room; and how many were too long to learn from whole.

    None is cut: half a completion teaches to stop in the middle.
    """
    rows: list[list[Example]] = []
    room: list[int] = []
    dropped = 0
    for example in sorted(examples, key=lambda each: -each.length):
        if example.length > length or not example.prompt:
            dropped += 1
            continue
        place = next((at for at, left in enumerate(room) if left >= example.length), None)
        if place is None:
            rows.append([])
            room.append(length)
            place = len(rows) - 1
        rows[place].append(example)
        room[place] -= example.length
    return [_block(row, length, fill) for row in rows], dropped


def _block(row: Sequence[Example], length: int, fill: int) -> Block:
    tokens: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    segments: list[int] = []
    for number, example in enumerate(row):
        tokens += [*example.prompt, *example.completion]
        labels += [*[IGNORED] * len(example.prompt), *example.completion]
        positions += range(example.length)
        segments += [number] * example.length
    padding = length - len(tokens)
    return Block(
        torch.tensor([*tokens, *[fill] * padding]),
        torch.tensor([*labels, *[IGNORED] * padding]),
        torch.tensor([*positions, *[0] * padding]),
        torch.tensor([*segments, *[-1] * padding]),
    )


def visible(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the attention mask, to be added to the scores: (rows, 1, length, length) for segments (rows, length).

    Earlier tokens of its own example alone. Without this, packing would teach every example to lean on a stranger's.
    """
    same = segments.unsqueeze(2) == segments.unsqueeze(1)
    length = segments.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    allowed = (same & earlier).unsqueeze(1)
    return torch.zeros(allowed.shape, dtype=dtype, device=segments.device).masked_fill(~allowed, torch.finfo(dtype).min)


def loss_of(model: Any, blocks: Sequence[Block]) -> Tensor:
    """Mean cross entropy of the completions' tokens, over all of `blocks`."""
    device = model.device
    tokens, labels, positions, segments = (
        torch.stack([getattr(block, name) for block in blocks]).to(device)
        for name in ("tokens", "labels", "positions", "segments")
    )
    mask = visible(segments, torch.float32 if model.dtype == torch.float32 else model.dtype)
    found: Tensor = model(input_ids=tokens, attention_mask=mask, position_ids=positions, labels=labels).loss
    return found


@torch.inference_mode()
def measured(model: Any, blocks: Sequence[Block]) -> float:
    """The same, by numbers of tokens over all blocks, with dropout off."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for block in blocks:
        learned = int((block.labels != IGNORED).sum())
        total += float(loss_of(model, [block])) * learned
        count += learned
    model.train(was_training)
    return total / max(1, count)


def load_base(base: Path, *, four_bit: bool) -> Any:
    """The base to learn on top of: in four bits where asked for and possible, else as it is.

    Raises:
        CannotTrain: four bits without a GPU or bitsandbytes, or no decoder.
    """
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    if not any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in config.get("architectures") or []):
        raise CannotTrain(f"{base} is no decoder: this example packs prompts and completions into one row.")
    known: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    if not four_bit:
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **known)
        return model.to("cuda") if torch.cuda.is_available() else model
    check_four_bit()
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=quantized, device_map="auto", **known)
    # Activations are computed a second time rather than kept: what four bits save on weights, they would take.
    again = {"use_reentrant": False}
    return prepare_model_for_kbit_training(model, gradient_checkpointing_kwargs=again)  # type: ignore[no-untyped-call]


def check_four_bit() -> None:
    """Raise CannotTrain, with what is missing."""
    missing = [] if torch.cuda.is_available() else ["a CUDA GPU"]
    if importlib.util.find_spec("bitsandbytes") is None:
        missing.append("bitsandbytes (pip install bitsandbytes)")
    if missing:
        raise CannotTrain(f"Four bits need {' and '.join(missing)}; leave --four-bit out to train in full precision.")


def finetune(
    base: Path, adapter: Path, examples: Sequence[Example], held_out: Sequence[Example], settings: Settings, *, fill: int,
    quiet: bool = False,
) -> Outcome:  # fmt: skip
    """Train an adapter on `examples` and save it; `held_out` is measured before and after, and never learned from.

    Raises:
        CannotTrain: see load_base; or nothing fits into a block.
    """
    blocks, dropped = pack(examples, settings.block, fill)
    judged, _ = pack(held_out, settings.block, fill)
    if not blocks or not judged:
        raise CannotTrain(f"No example fits into a block of {settings.block} tokens; give a larger --block.")
    if dropped and not quiet:
        print(f"{dropped} of {len(examples)} examples are longer than a block and left out.", file=sys.stderr)
    torch.manual_seed(settings.seed)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with _peft_up_to_date():
        model = get_peft_model(
            load_base(base, four_bit=settings.four_bit),
            LoraConfig(
                r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )  # fmt: skip
    before = measured(model, judged)
    _fit(model, blocks, settings, quiet=quiet)
    after = measured(model, judged)
    trainable, parameters = model.get_nb_trainable_parameters()
    model.save_pretrained(str(adapter))
    _bind(adapter, base)
    learned = sum(int((block.labels != IGNORED).sum()) for block in blocks)
    used = sum(int((block.segments >= 0).sum()) for block in blocks)
    return Outcome(
        trainable=trainable,
        parameters=parameters,
        steps=settings.steps,
        loss_before=before,
        loss_after=after,
        completion_tokens=learned,
        filled=used / (len(blocks) * settings.block),
        peak_memory_bytes=_peak_memory(),
    )


def _fit(model: Any, blocks: Sequence[Block], settings: Settings, *, quiet: bool) -> None:
    """The rate rises over a tenth of the steps and falls to nothing at the end."""
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = _optimizer(learned, settings)
    warm = max(1, settings.steps // 10)
    model.train()
    chosen = endless(blocks, settings)
    for step in tqdm(range(settings.steps), desc="fine-tuning", disable=quiet, file=sys.stderr):
        rate = settings.rate * min((step + 1) / warm, (settings.steps - step) / max(1, settings.steps - warm))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with half_precision():
            loss = loss_of(model, next(chosen))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _optimizer(learned: list[Tensor], settings: Settings) -> Any:
    if not settings.four_bit:
        return torch.optim.AdamW(learned, lr=settings.rate, weight_decay=0.0)
    import bitsandbytes  # paged: what doesn't fit into the GPU's memory for a moment moves to the host's

    return bitsandbytes.optim.PagedAdamW32bit(learned, lr=settings.rate, weight_decay=0.0)


def endless(blocks: Sequence[Block], settings: Settings) -> Iterator[list[Block]]:
    chance = torch.Generator().manual_seed(settings.seed)
    while True:
        order = torch.randperm(len(blocks), generator=chance).tolist()
        for start in range(0, len(order), settings.rows):
            yield [blocks[at] for at in order[start : start + settings.rows]]


def _bind(adapter: Path, base: Path) -> None:
    """Bind the adapter to its base by content, not by the base's path on this machine."""
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = BASE_FOLDER
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    (adapter / BOUND).write_text(json.dumps({"manifest_sha256": manifest_of_folder(base).sha256}), encoding="utf-8")
    # PEFT writes a card of its own with nothing in it but the base's path.
    (adapter / "README.md").unlink(missing_ok=True)


def merge(base: Path, adapter: Path, folder: Path) -> Path:
    """One model of base and adapter, in the base's own precision: weights of four bits are none to add to."""
    with _peft_up_to_date():
        model = PeftModel.from_pretrained(load_base(base, four_bit=False), adapter)
    model.merge_and_unload().save_pretrained(folder)
    _copy(base, folder, without=(".safetensors", ".index.json"))
    return folder


def with_base(base: Path, adapter: Path, folder: Path) -> Path:
    """An artifact of the adapter and the base that it is bound to."""
    shutil.copytree(adapter, folder, dirs_exist_ok=True)
    shutil.copytree(base, folder / BASE_FOLDER, dirs_exist_ok=True)
    return folder


def _copy(source: Path, target: Path, *, without: tuple[str, ...]) -> None:
    """Copy the files that the merged model doesn't write itself: the tokenizer, templates."""
    for path in source.iterdir():
        if path.is_file() and not path.name.endswith(without) and not (target / path.name).exists():
            shutil.copy(path, target / path.name)


@contextlib.contextmanager
def _peft_up_to_date() -> Iterator[None]:
    """Silence PEFT's warning about a renamed attribute of transformers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        yield


def _peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of this process so far."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
