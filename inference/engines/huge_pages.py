"""Large tables in huge pages, for sequential reads at every step."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
from math import prod

import torch
from torch import Tensor

# A page of the processor's larger size, on x86 and on most of arm64.
_PAGE = 2 << 20
# Pieces of memory that are kept: those of one run's tables, at two sizes each.
_MOST_KEPT = 5


class HugePagePool:
    """Huge-page pool for tables, reused from request to request.

    On a CPU large tables lie in pages of 2 MiB, where the system has them: one core reads these by up to half as fast again
    as pages of 4 KiB (31 GB/s against 22 on an EPYC of 2023). What a table gives back the next one takes, because a new page
    has to be found and emptied by the system, which took up to a tenth of a short run's time.
    https://docs.kernel.org/admin-guide/mm/transhuge.html
    """

    def __init__(self) -> None:
        self._kept: list[Tensor] = []  # bytes

    def zeros(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return a zeroed tensor, as `torch.zeros`.

        Raises:
            MemoryError: there is not so much memory.
        """
        size = prod(shape) * dtype.itemsize
        if device.type != "cpu" or size < 2 * _PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
            return torch.zeros(tuple(shape), dtype=dtype, device=device)
        fitting = [place for place, piece in enumerate(self._kept) if piece.numel() >= size]
        if fitting:
            place = min(fitting, key=lambda place: self._kept[place].numel())
            found = self._kept.pop(place)[:size].zero_()
        else:
            found = _new(size)
        return found.view(dtype).view(tuple(shape))

    def take_back(self, table: Tensor) -> None:
        """Take back the memory of a table that is no longer used."""
        if table.device.type == "cpu" and table.nbytes >= 2 * _PAGE and table.data_ptr() % _PAGE == 0:
            whole = table.untyped_storage()
            start = table.storage_offset() * table.dtype.itemsize
            piece = torch.empty(0, dtype=torch.uint8).set_(whole, start, (whole.nbytes() - start,))  # type: ignore[call-overload]
            self._kept = sorted([*self._kept, piece], key=Tensor.numel)[-_MOST_KEPT:]


def resized(table: Tensor, shape: Sequence[int], filling: float = 0.0, pages: HugePagePool | None = None) -> Tensor:
    """Copy as much of `table` as fits into a new one of `shape`; `pages` supplies it and takes the old one."""
    found = table.new_full(tuple(shape), filling) if pages is None else pages.zeros(shape, table.dtype, table.device)
    kept = tuple(slice(0, min(one, other)) for one, other in zip(table.shape, shape, strict=True))
    found[kept] = table[kept]
    if pages is not None:
        pages.take_back(table)
    return found


def _new(size: int) -> Tensor:
    """Allocate zeroed memory aligned to a 2 MiB huge page; it is freed with the tensor."""
    try:
        memory = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"A table of {size:,} bytes does not fit into memory.") from error
    # A kernel may have been built without such pages: the smaller ones do too.
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    start = -whole.data_ptr() % _PAGE
    return whole[start : start + size]
