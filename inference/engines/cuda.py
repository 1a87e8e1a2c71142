"""What only a GPU gains from: recorded steps, and attention over packed texts in one kernel.

Both run on a CPU too, where tests hold them to the same results: recorded with a recorder that only runs, and with
`flex_attention` uncompiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from inference.engines.decoder import Decoder
from inference.engines.encoder import AttentionMaker
from inference.engines.weights import Side

# Tokens that one tile of the kernel takes; its mask is given by tiles.
_TILE = 128


class Recording(Protocol):
    """A run that can be repeated on whatever its inputs hold by then."""

    def replay(self) -> None: ...


Recorder = Callable[[Callable[[], Tensor]], tuple[Recording, Tensor]]


class Graphs:
    """The decoder's step, recorded once for each size and then replayed: one launch instead of hundreds.

    Slots are counted up to powers of two; the caller rounds the other sizes. A slot that is in no use computes
    nonsense into places of its own.
    """

    def __init__(self, decoder: Decoder, recorder: Recorder | None = None) -> None:
        self._decoder, self._recorder = decoder, recorder or record
        self._recorded: dict[tuple[int, int, int], tuple[Recording, Tensor]] = {}

    def __call__(self, count: int, keys: int, sources: int) -> Tensor:
        """As the decoder's step; what it returns is overwritten by the next step of the same size."""
        rounded = min(self._decoder.slots, 1 << (count - 1).bit_length())
        size = (rounded, keys, sources)
        if size not in self._recorded:
            self._recorded[size] = self._recorder(lambda: self._decoder.step(*size))
        recording, output = self._recorded[size]
        recording.replay()
        return output[:count]


def record(step: Callable[[], Tensor]) -> tuple[Recording, Tensor]:
    """A CUDA graph of `step`, and where it leaves its result."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # Once outside the graph: libraries set themselves up at the first call. A step may be repeated without harm.
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step()
    return graph, output


class FlexAttention:
    """Attention of packed texts to themselves, with T5's bias by distance, in one call for all texts."""

    def __init__(self, attend: Callable[..., Any], side: Side, lengths: Sequence[int]) -> None:
        self._attend, self._side = attend, side
        device = side.tokens.device
        total = sum(lengths)
        owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))  # (tokens,)
        # Filled up to whole tiles; the filling belongs to a text of its own.
        filled = -(-total // _TILE) * _TILE
        owner = torch.cat((owner, owner.new_full((filled - total,), len(lengths))))
        self._total, self._filled = total, filled
        self._owner = owner.to(device)
        self._mask = self._tiles(owner, device)
        self._score = self._scorer()

    @classmethod
    def compiled(cls) -> AttentionMaker:
        """With the kernel that the compiler makes."""
        attend = torch.compile(flex_attention, dynamic=True)
        return lambda side, lengths: cls(attend, side, lengths)

    @classmethod
    def plain(cls) -> AttentionMaker:
        """Uncompiled, for a CPU's tests."""
        return lambda side, lengths: cls(flex_attention, side, lengths)

    def __call__(self, projected: Tensor) -> Tensor:
        side = self._side
        filled = projected.new_zeros(self._filled, projected.shape[1])
        filled[: self._total] = projected
        parts = filled.view(self._filled, 3, side.heads, side.head_size).permute(1, 2, 0, 3).unsqueeze(1)
        found = self._attend(
            parts[0], parts[1], parts[2], score_mod=self._score, block_mask=self._mask, scale=side.score_scale
        )  # (1, heads, tokens, head size)
        attended: Tensor = found[0].transpose(0, 1).reshape(self._filled, -1)
        return attended[: self._total]

    def _tiles(self, owner: Tensor, device: torch.device) -> BlockMask:
        """Which tiles of keys a tile of queries looks at: those from its first text's start to its last text's end.

        Computed from the texts' borders: comparing every token with every other would take longer than attention.
        """
        tiles = owner.view(-1, _TILE)
        first, last = tiles[:, 0].contiguous(), tiles[:, -1].contiguous()
        starts = torch.searchsorted(owner, first) // _TILE
        ends = (torch.searchsorted(owner, last, right=True) - 1) // _TILE
        counts = (ends - starts + 1).int()  # (tiles,)
        places = starts.unsqueeze(1) + torch.arange(tiles.shape[0])  # (tiles, tiles); only the first `counts` are read
        places = places.clamp(max=tiles.shape[0] - 1).int()
        owners = self._owner

        def same_text(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return owners[query] == owners[key]

        mask: BlockMask = BlockMask.from_kv_blocks(
            counts.view(1, 1, -1).to(device), places[None, None].to(device), BLOCK_SIZE=_TILE, mask_mod=same_text
        )
        return mask

    def _scorer(self) -> Callable[..., Tensor] | None:
        distances = self._side.distances
        if distances is None:
            return None
        bias, reach = distances.bias, distances.reach

        def with_bias(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            # Within one text the distance between places in the packing is the distance in the text.
            return score + bias[head, (key - query).clamp(-reach, reach) + reach]

        return with_bias
