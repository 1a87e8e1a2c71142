"""Shared parts of both training examples: a small tokenizer, batches of like length, one loop with a progress bar."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
# Training takes at most this many times the seconds asked for, by the clock.
LONGEST = 5


def tokenizer_of(
    texts: Sequence[str], *, size: int, specials: Sequence[str], single: str, pair: str | None = None
) -> Any:
    """A byte-pair tokenizer learned from `texts`; `single` and `pair` say where the special tokens go."""
    inner = Tokenizer(models.BPE(unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), show_progress=False)
    )
    named = [(token, inner.token_to_id(token)) for token in specials if token in f"{single} {pair}".split()]
    inner.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=named)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Token ids, int64, shape (rows, longest)."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def batches(lengths: Sequence[int], size: int, seed: int) -> Iterator[list[int]]:
    """Indices in batches of like length, in an order that looks random, without end."""
    chance = random.Random(seed)  # noqa: S311  # an order of training, no secret
    while True:
        order = list(range(len(lengths)))
        chance.shuffle(order)
        for start in range(0, len(order), size * 20):
            near = sorted(order[start : start + size * 20], key=lambda index: lengths[index])
            cut = [near[place : place + size] for place in range(0, len(near), size)]
            chance.shuffle(cut)
            yield from cut


def fit(
    model: Any,
    losses: Iterator[Callable[[], Tensor]],
    *,
    seconds: float | None,
    steps: int | None,
    rate: float,
    name: str,
    quiet: bool = False,
) -> int:
    """Train until `seconds` or `steps` are over; returns the steps made.

    With `steps` the outcome is the same each time; with `seconds` it depends on the machine. On a CPU they are seconds of
    computing, so that a busy machine trains as much, in at most five times as long. The learning rate rises over 50 steps and
    then falls to nothing at the end.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    model.train()
    timer, done, share = Timer(), 0, 0.0
    with tqdm(total=100, desc=name, disable=quiet, file=sys.stderr, bar_format=_BAR, mininterval=0.5) as bar:
        while share < 1:
            rate_now = max(rate * min(1.0, (done + 1) / 50) * (1 - share), rate * 1e-3)
            for group in optimizer.param_groups:
                group["lr"] = rate_now
            with half_precision():
                loss = next(losses)()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            share = max(timer.seconds() / seconds if seconds else 0.0, done / steps if steps else 0.0)
            bar.update(min(100.0, share * 100) - bar.n)
            if done % 20 == 0:
                bar.set_postfix_str(f"step {done}, loss {loss.item():.3f}")
    model.eval()
    return done


class Timer:
    """Seconds of computing since it was made: by the clock on a GPU, else CPU time of each of torch's threads."""

    def __init__(self) -> None:
        self._began, self._computed = time.monotonic(), time.process_time()

    def seconds(self) -> float:
        """Return the seconds so far, at least a fifth of those by the clock."""
        passed = time.monotonic() - self._began
        if torch.cuda.is_available():
            return passed
        return max((time.process_time() - self._computed) / torch.get_num_threads(), passed / LONGEST)


def half_precision() -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where the processor computes it faster than float32, and not where it only emulates it."""
    if torch.cuda.is_available():
        return torch.autocast("cuda", torch.bfloat16)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return torch.autocast("cpu", torch.bfloat16, enabled="amx_bf16" in flags or "avx512_bf16" in flags)


_BAR = "{desc} {percentage:3.0f} %|{bar}| {elapsed}, {remaining} left{postfix}"
