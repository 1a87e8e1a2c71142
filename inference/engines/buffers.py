"""Resize tensors and keep their contents."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def resized(table: Tensor, shape: Sequence[int], filling: float = 0.0) -> Tensor:
    """Copy as much of `table` as fits into a new one of `shape`."""
    found = table.new_full(tuple(shape), filling)
    kept = tuple(slice(0, min(one, other)) for one, other in zip(table.shape, shape, strict=True))
    found[kept] = table[kept]
    return found
