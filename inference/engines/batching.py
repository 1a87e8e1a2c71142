"""Group rows into forward passes: rows of similar length, under a token budget, half as many when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Row = TypeVar("Row")
Result = TypeVar("Result")

# Padded tokens in one forward pass. On a CPU small batches stay in the cache; a GPU needs large ones to be fully used.
CPU_TOKEN_BUDGET = 1_024
# Rows that are decoded together on a CPU, by their encoded tokens.
CPU_DECODER_BUDGET = 16_384
CUDA_TOKEN_BUDGET = 65_536


@dataclass(frozen=True, slots=True)
class DoesNotFit:
    """The result of a row that is too large for the free memory even alone."""

    why: str = "it does not fit into memory, even alone"


def by_token_budget(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return the indices in batches of at most `budget` padded tokens, longest rows first.

    With the longest first, a lack of memory shows at the start and not after an hour.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        widest = lengths[batches[-1][0]] if batches else 0
        if batches and (len(batches[-1]) + 1) * widest <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def halving(rows: Sequence[Row], forward: Callable[[Sequence[Row]], Sequence[Result]]) -> Iterator[Result | DoesNotFit]:
    """Yield the results of `forward` over `rows`, in order; when memory runs out, the number of rows in a pass is halved."""
    result = _attempt(rows, forward)
    if result is not None:
        yield from result
    elif len(rows) == 1:
        yield DoesNotFit()
    else:
        middle = (len(rows) + 1) // 2
        yield from halving(rows[:middle], forward)
        yield from halving(rows[middle:], forward)


def _attempt(rows: Sequence[Row], forward: Callable[[Sequence[Row]], Sequence[Result]]) -> Sequence[Result] | None:
    try:
        return forward(rows)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    # Outside the except block: the traceback holds the failed pass's tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def out_of_memory(error: BaseException) -> bool:
    """Return True if `error` is an out-of-memory error, of CPU or GPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text
