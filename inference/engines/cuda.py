"""GPU optimizations: CUDA graphs of decode steps, and fused attention over packed sequences.

Both run on a CPU too, where tests compare their results: with a recorder that only runs the step, and with
`flex_attention` uncompiled. torch's own kernel for texts of all lengths supports neither a bias nor float32.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from inspect import signature
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder
from inference.engines.transfers import onto
from inference.engines.weights import Side, Weights

log = logging.getLogger("inference")

# The number of tokens in a tile of the kernel, whose mask is given by tiles.
_TILE = 128
# Compiled for an H100 with T5's bias, the compiler's own 128 queries by 128 keys have no room in its registers: 4 KB a thread
# go to memory and back. 64 by 64 need 143 registers, so that three blocks run side by side. Our tiles follow each other.
_KERNEL_OPTIONS: Any = {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4, "num_stages": 3, "BLOCKS_ARE_CONTIGUOUS": True}
# A step with fewer slots takes as long as one with these.
_FEWEST_SLOTS = 8
# Recording costs about as much as this many steps, so a rare size is run without recording.
_RUNS_BEFORE_RECORDING = 4


class Recording(Protocol):
    """A recorded run that can be replayed on the current contents of its inputs."""

    def replay(self) -> None: ...


Recorder = Callable[[Callable[[], object]], Recording]


class Graphs:
    """The decoder's step, recorded once for each size that comes often and then replayed: one launch instead of hundreds.

    The number of slots is rounded up to a power of two; the caller rounds the other sizes. Unused slots compute meaningless
    values into their own memory. A size that can't be recorded is run directly, for large tables at nearly the same speed.
    """

    def __init__(self, decoder: Decoder, recorder: Callable[[], Recorder] | None = None) -> None:
        self._decoder, self._make = decoder, recorder or (lambda: CudaRecorder(decoder.positions.device))
        self._records = True
        self.forget()

    def forget(self) -> None:
        """Discard all recordings, because the decoder's tables were reallocated."""
        self._runs: Counter[tuple[int, int, int]] = Counter()
        self._recorded: dict[tuple[int, int, int], Recording] = {}
        # The memory pool is freed with the last of its graphs.
        self._recorder = self._make()
        self._scores: Tensor | None = None  # one place for the results of all sizes

    @property
    def recorded(self) -> list[tuple[int, int, int]]:
        """The sizes recorded so far: slots, keys and tokens of the longest input."""
        return list(self._recorded)

    @torch.inference_mode()
    def __call__(self, count: int, keys: int, sources: int) -> Tensor:
        """Run the decoder's step; the next call overwrites the result."""
        rounded = min(self._decoder.slots, max(_FEWEST_SLOTS, 1 << (count - 1).bit_length()))
        size = (rounded, keys, sources)
        # The position of a free slot may be past the last valid one.
        self._decoder.positions[count:rounded] = 0
        self._runs[size] += 1
        if self._records and self._runs[size] > _RUNS_BEFORE_RECORDING and size not in self._recorded:
            self._record(size)
        if size not in self._recorded:
            return self._decoder.step(*size)[:count]
        self._recorded[size].replay()
        assert self._scores is not None
        return self._scores[:count]

    def _record(self, size: tuple[int, int, int]) -> None:
        try:
            self._recorded[size] = self._recorder(self._into_scores(size))
        except RuntimeError as error:
            # For example if there is too little memory to record. The step has run before, so it can still be run directly.
            self._records = False
            log.warning(
                "Steps are run one kernel after the other from now on, because one cannot be recorded: %s", error
            )

    def _into_scores(self, size: tuple[int, int, int]) -> Callable[[], object]:
        decoder = self._decoder
        if self._scores is None:
            scores = decoder.step(*size)
            self._scores = scores.new_empty(decoder.slots, *scores.shape[1:])
        into = self._scores[: size[0]]
        return lambda: into.copy_(decoder.step(*size))


class CudaRecorder:
    """CUDA graphs that share one memory pool: only one runs at a time, and none reads what another has left there."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._pool = device, torch.cuda.graph_pool_handle()
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, step: Callable[[], object]) -> Recording:
        main, side, graph = torch.cuda.current_stream(self._device), self._side, torch.cuda.CUDAGraph()
        side.wait_stream(main)
        try:
            with torch.cuda.stream(side):
                # Once outside the graph: libraries set themselves up for a stream at the first call on it. A step may be
                # repeated without harm.
                step()
            # Other threads may run their own models; by default their CUDA calls would fail during the recording.
            with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                step()
        finally:
            # If a recording fails to end, torch leaves its stream as the current one.
            torch.cuda.set_stream(main)
            main.wait_stream(side)
        return graph


class TiledEncoder(Encoder):
    """The encoder with one attention kernel for all texts, over whole tiles, the last one padded."""

    def __init__(self, weights: Weights, kernel: Kernel) -> None:
        super().__init__(weights, lambda side, lengths: FlexAttention(kernel, side, lengths))
        self._longest = weights.longest_source or 2 * _TILE

    def encode(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        total = sum(map(len, texts))
        # At least two tiles, because the compiler specializes a size of one.
        missing = max(2 * _TILE, -(-total // _TILE) * _TILE) - total
        filling = [(0,) * min(self._longest, missing - start) for start in range(0, missing, self._longest)]
        return super().encode([*texts, *filling])[: len(texts)]


def cuda_encoder(weights: Weights) -> Encoder:
    """Return the fastest encoder that works on this machine: a kernel with a bias needs Triton and a C compiler."""
    # cuDNN's attention takes tens of milliseconds to plan for each new shape, and most shapes here are new.
    torch.backends.cuda.enable_cudnn_sdp(False)
    ready_made = weights.encoder.distances is None and weights.dtype in (torch.float16, torch.bfloat16)
    encoder = Encoder(weights, AtOnce) if ready_made else TiledEncoder(weights, compiled())
    try:
        encoder.encode([(0,)])
    except Exception as error:  # noqa: BLE001  # whatever a compiler may raise, there is a way without it
        log.warning("The encoder attends text by text, because no kernel for all at once works here: %s", error)
        return Encoder(weights)
    return encoder


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, in bytes."""
    return int(torch.cuda.mem_get_info(device)[0])


# Signature of `attend`.
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor]


def attend(parts: Tensor, owners: Tensor, counts: Tensor, places: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of packed texts to themselves: from (tiles, _TILE, 3, heads, head size) to (tokens, heads * head size).

    `owners`: each token's text, int32, (tiles, _TILE); `counts` and `places`: see `_tiles`. All arguments are tensors, so that
    the compiler makes one kernel for all batches: it would treat a number as a constant, or, after the number has changed, as
    a symbolic variable, which `flex_attention` doesn't accept everywhere.
    """
    owner = owners.flatten()

    def same_text(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return owner[query] == owner[key]

    def scaled(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score * scale

    def biased(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert bias is not None
        reach = bias.shape[1] // 2
        # Within one text the distance between places in the packing is the distance in the text.
        return score * scale + bias[head, (key - query).clamp(-reach, reach) + reach]

    mask = BlockMask.from_kv_blocks(counts, places, BLOCK_SIZE=_TILE, mask_mod=same_text, compute_q_blocks=False)
    query, key, value = parts.flatten(0, 1).permute(1, 2, 0, 3).unsqueeze(1)  # (1, heads, tokens, head size) each
    score = scaled if bias is None else biased
    found = flex_attention(
        query, key, value, score_mod=score, block_mask=mask, scale=1.0, kernel_options=_KERNEL_OPTIONS
    )
    assert isinstance(found, Tensor)
    return found[0].transpose(0, 1).flatten(1)


def compiled(backend: Any = "inductor") -> Kernel:
    """Return `attend` compiled to one kernel, for any number of tiles from two on."""
    # Each engine has its own compile cache if torch supports it: all models of a process would soon reach its limit of eight.
    counts: Any = {"isolate_recompiles": True} if "isolate_recompiles" in signature(torch.compile).parameters else {}
    kernel: Kernel = torch.compile(attend, fullgraph=True, backend=backend, **counts)

    def call(
        parts: Tensor, owners: Tensor, counts: Tensor, places: Tensor, scale: Tensor, bias: Tensor | None
    ) -> Tensor:
        for tensor, axes in ((parts, (0,)), (owners, (0,)), (counts, (2,)), (places, (2, 3))):
            torch._dynamo.mark_dynamic(tensor, axes)
            torch._dynamo.mark_static(tensor, [axis for axis in range(tensor.dim()) if axis not in axes])
        if bias is not None:
            torch._dynamo.mark_static(bias, [0, 1])
        return kernel(parts, owners, counts, places, scale, bias)

    return call


class FlexAttention:
    """Attention of packed texts to themselves, with T5's bias by distance, in one call for all texts."""

    def __init__(self, kernel: Kernel, side: Side, lengths: Sequence[int]) -> None:
        """`lengths` fill whole tiles."""
        self._kernel, self._side = kernel, side
        device = side.tokens.device
        texts = torch.arange(len(lengths), dtype=torch.int32)
        owner = torch.repeat_interleave(texts, torch.tensor(lengths))  # (tokens,)
        counts, places = _tiles(owner)
        self._owners = onto(device, owner.view(-1, _TILE))
        self._counts, self._places = onto(device, counts), onto(device, places)
        # A Python number would be compiled into the code; a tensor on the device needs no synchronization.
        self._scale = torch.full((), side.score_scale, device=device)
        self._bias = None if side.distances is None else side.distances.bias

    def __call__(self, projected: Tensor) -> Tensor:
        parts = projected.view(-1, _TILE, 3, self._side.heads, self._side.head_size)
        return self._kernel(parts, self._owners, self._counts, self._places, self._scale, self._bias)


def _tiles(owner: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tiles of keys that a tile of queries attends to: from its first text's start to its last text's end.

    How many, int32, (1, 1, tiles), and which, int32, (1, 1, tiles, tiles), of which the first so many are read. Computed
    from the texts' borders: comparing every token with every other would take longer than attention.
    """
    tiles = owner.view(-1, _TILE)
    starts = torch.searchsorted(owner, tiles[:, 0].contiguous()) // _TILE
    ends = (torch.searchsorted(owner, tiles[:, -1].contiguous(), right=True) - 1) // _TILE
    places = (starts.unsqueeze(1) + torch.arange(tiles.shape[0])).clamp(max=tiles.shape[0] - 1)
    return (ends - starts + 1).int()[None, None], places.int()[None, None]


# torch.nn.attention.varlen calls this too; its own arguments change from release to release.
packed_attention: Callable[..., Any] = torch.ops.aten._flash_attention_forward


def attend_at_once(
    side: Side, query: Tensor, keys_values: Tensor, queries: Sequence[int], keys: Sequence[int], *, causal: bool = False
) -> Tensor:
    """Compute `attend_by_text` in one kernel for texts of all lengths; without a bias, and in 16 bits."""
    key, value = keys_values.view(-1, 2, side.heads, side.head_size).unbind(1)  # (tokens, heads, head size)
    asked, known = (
        onto(query.device, torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)) for lengths in (queries, keys)
    )
    found: Tensor = packed_attention(
        query.view(-1, side.heads, side.head_size), key, value, asked, known, max(queries), max(keys), 0.0, causal, False,
        scale=side.score_scale,
    )[0]  # fmt: skip
    return found.flatten(1)


class AtOnce:
    """Attention of packed texts to themselves by `attend_at_once`."""

    def __init__(self, side: Side, lengths: Sequence[int]) -> None:
        self._side, self._lengths = side, list(lengths)

    def __call__(self, projected: Tensor) -> Tensor:
        inner = self._side.heads * self._side.head_size
        query, keys_values = torch.split(projected, [inner, 2 * inner], dim=1)
        return attend_at_once(self._side, query, keys_values, self._lengths, self._lengths)
