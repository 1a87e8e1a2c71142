"""Absorbed cross-attention in one kernel, which reads each input once where two products read it twice.

A step of many rows spends most of its time on these reads. Written in Triton, which comes with torch for GPUs only, so
whoever imports this has to expect that it is not there. An input's tokens lie along the left side of both products: the
tensor cores of a Hopper take 64 rows at least there, and 16 columns do for the heads.
"""

from __future__ import annotations

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from inference.engines.sources import Attend, by_products

# Columns that one product takes.
_PART = 256
# Queries of one slot, heads times texts, that one tile of the tensor cores takes.
_MOST_QUERIES = 16
# Fewer slots than these leave most of a GPU idle, as each is read by one of its processors.
_FEWEST_SLOTS = 64
# Tokens in a tile, warps, and stages of reading ahead. The first fills a processor's memory with one tile of width 1,024 and
# waits for it, the others' two blocks a processor wait in turn: which is fastest is found out where it runs.
_SHAPES = ((64, 8, 1), (32, 4, 2), (32, 8, 2))


def ways(width: int, dtype: torch.dtype) -> list[Attend]:
    """The kernel in each shape, for inputs of this width; none where it knows no such."""
    if width not in (2 * _PART, 3 * _PART, 4 * _PART) or dtype not in (torch.float16, torch.bfloat16):
        return []
    return [partial(_attend, *shape) for shape in _SHAPES]


def _attend(
    tile: int, warps: int, stages: int, queries: Tensor, outputs: Tensor, hidden: Tensor, scale: float
) -> Tensor:
    """As `by_products`, and by it where this would be slower."""
    count, rows, width = queries.shape
    if rows > _MOST_QUERIES or count < _FEWEST_SLOTS:
        return by_products(queries, outputs, hidden, scale)
    found = queries.new_empty(queries.shape)
    with torch.cuda.device(queries.device):
        _read_once[(count,)](
            queries, outputs, hidden, found, scale, outputs.shape[1], *queries.stride()[:2], outputs.stride(0),
            hidden.stride(0), rows,
            parts=width // _PART, tile=tile, stages=stages, num_warps=warps, num_stages=stages,
        )  # fmt: skip
    return found


@triton.jit(do_not_specialize=["sources", "hidden_slot", "rows"])  # type: ignore[untyped-decorator]
def _read_once(  # type: ignore[no-untyped-def]
    queries, outputs, hidden, found, scale, sources, query_slot, query_row, output_slot, hidden_slot, rows,
    parts: tl.constexpr, tile: tl.constexpr, stages: tl.constexpr,
):  # fmt: skip
    """One slot: scores of a tile of its tokens, then their share of what is found, from the same tile."""
    slot = tl.program_id(0).to(tl.int64)
    width: tl.constexpr = parts * 256
    row, column, place = tl.arange(0, 16), tl.arange(0, 256), tl.arange(0, tile)
    real = (row < rows)[None, :]
    into = slot * rows * width + row[None, :] * width + column[:, None]  # (256, 16)
    asked = queries + slot * query_slot + row.to(tl.int64)[None, :] * query_row + column[:, None]
    query_0 = tl.load(asked, mask=real, other=0.0)
    query_1 = tl.load(asked + 256, mask=real, other=0.0)
    if parts > 2:
        query_2 = tl.load(asked + 512, mask=real, other=0.0)
    if parts > 3:
        query_3 = tl.load(asked + 768, mask=real, other=0.0)
    best, total = tl.full((16,), -1.0e30, tl.float32), tl.zeros((16,), tl.float32)
    found_0, found_1 = tl.zeros((256, 16), tl.float32), tl.zeros((256, 16), tl.float32)
    found_2, found_3 = tl.zeros((256, 16), tl.float32), tl.zeros((256, 16), tl.float32)
    for start in tl.range(0, sources, tile, num_stages=stages):
        there = start + place < sources
        table = outputs + slot * output_slot + (start + place)[:, None] * width + column[None, :]  # (tile, 256)
        part_0 = tl.load(table, mask=there[:, None], other=0.0)
        part_1 = tl.load(table + 256, mask=there[:, None], other=0.0)
        scores = tl.dot(part_1, query_1, tl.dot(part_0, query_0))
        if parts > 2:
            part_2 = tl.load(table + 512, mask=there[:, None], other=0.0)
            scores = tl.dot(part_2, query_2, scores)
        if parts > 3:
            part_3 = tl.load(table + 768, mask=there[:, None], other=0.0)
            scores = tl.dot(part_3, query_3, scores)
        shown = tl.load(hidden + slot * hidden_slot + start + place, mask=there, other=float("-inf")).to(tl.float32)
        scores = scores * scale + shown[:, None]  # (tile, 16)
        higher = tl.maximum(best, tl.max(scores, 0))
        weights, shrunk = tl.exp(scores - higher[None, :]), tl.exp(best - higher)
        best, total = higher, total * shrunk + tl.sum(weights, 0)
        weights = weights.to(part_0.dtype)
        found_0 = tl.dot(tl.trans(part_0), weights, found_0 * shrunk[None, :])
        found_1 = tl.dot(tl.trans(part_1), weights, found_1 * shrunk[None, :])
        if parts > 2:
            found_2 = tl.dot(tl.trans(part_2), weights, found_2 * shrunk[None, :])
        if parts > 3:
            found_3 = tl.dot(tl.trans(part_3), weights, found_3 * shrunk[None, :])
    tl.store(found + into, (found_0 / total[None, :]).to(found.dtype.element_ty), mask=real)
    tl.store(found + into + 256, (found_1 / total[None, :]).to(found.dtype.element_ty), mask=real)
    if parts > 2:
        tl.store(found + into + 512, (found_2 / total[None, :]).to(found.dtype.element_ty), mask=real)
    if parts > 3:
        tl.store(found + into + 768, (found_3 / total[None, :]).to(found.dtype.element_ty), mask=real)
