"""Batches by token budget, and half as many when memory runs out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.engines.batching import DoesNotFit, by_token_budget, halving


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 2000))
def test_every_row_is_in_one_batch_under_the_budget(lengths: list[int], budget: int) -> None:
    batches = by_token_budget(lengths, budget)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        widest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * widest <= budget


def test_the_longest_rows_go_first() -> None:
    assert by_token_budget([1, 9, 5], 9) == [[1], [2], [0]]


class Device:
    """Room for `rows` rows, none of them longer than `longest`."""

    def __init__(self, rows: int, longest: int = 10**9, kind: type[Exception] = torch.OutOfMemoryError) -> None:
        self.rows, self.longest, self.kind, self.passes = rows, longest, kind, 0

    def forward(self, rows: Sequence[str]) -> list[str]:
        self.passes += 1
        if len(rows) > self.rows or max(map(len, rows)) > self.longest:
            raise self.kind("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [row.upper() for row in rows]


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch_and_goes_on(kind: type[Exception]) -> None:
    device = Device(rows=2, kind=kind)

    assert list(halving(list("abcdefg"), device.forward)) == list("ABCDEFG")


def test_a_row_that_fits_nowhere_costs_only_itself() -> None:
    device = Device(rows=8, longest=3)

    assert list(halving(["a", "toolong", "b"], device.forward)) == ["A", DoesNotFit(), "B"]


def test_other_failures_are_no_matter_of_memory() -> None:
    device = Device(rows=0, kind=ValueError)

    with pytest.raises(ValueError, match="out of memory"):
        list(halving(["a"], device.forward))
