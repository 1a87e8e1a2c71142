"""One step of the decoder over a table of slots, each at its own position in its text.

A slot holds one record: the encoder's output, once, and `width` texts that are generated from it in parallel: one text, a few
samples or the beams of a search. All sizes that change from step to step are arguments, and all tensors keep their addresses,
so a step can be recorded once and replayed (see cuda.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from inference.engines.buffers import resized
from inference.engines.cross_attention import CrossAttentionCache, EncoderOutputCache, KeyValueCache
from inference.engines.weights import Weights

_NEVER = float("-inf")


class Decoder:
    """The slot table and the step. With `absorbed` cross-attention all layers attend to the same encoder output."""

    def __init__(
        self,
        weights: Weights,
        slots: int,
        width: int,
        *,
        longest_source: int,
        reach: int,
        absorbed: bool = True,
    ) -> None:
        self._weights = weights
        self.slots, self.width, self.reach = slots, width, reach
        side, dtype, device = weights.decoder, weights.dtype, weights.device
        inner = side.heads * side.head_size
        layers = len(weights.decoder_layers)
        # Keys beside values; the texts of one slot alternate, so that its first steps stand together.
        self._cache = torch.zeros((layers, slots, reach * width, 2 * inner), dtype=dtype, device=device)
        self._sources: CrossAttentionCache = (
            EncoderOutputCache(weights, slots, longest_source)
            if absorbed
            else KeyValueCache(weights, slots, longest_source)
        )
        self.tokens = torch.zeros(slots, width, dtype=torch.int64, device=device)
        self.positions = torch.zeros(slots, dtype=torch.int64, device=device)
        # Which entries of its slot's cache each text descends from, added to scores: 0 or -inf.
        self._descent = (
            torch.full((slots, width, reach * width), _NEVER, dtype=dtype, device=device) if width > 1 else None
        )
        self._numbers = torch.arange(max(slots, width), device=device)

    @staticmethod
    def bytes_a_slot(weights: Weights, width: int, *, longest_source: int, reach: int, absorbed: bool) -> int:
        """Estimate the bytes of one slot: KV cache, encoder output and scores."""
        inner, layers = weights.decoder.heads * weights.decoder.head_size, len(weights.decoder_layers)
        past = layers * reach * width * 2 * inner
        source = longest_source * (weights.width if absorbed else layers * 2 * inner)
        scores = 4 * width * weights.decoder.tokens.shape[0]
        return (past + source + scores) * weights.dtype.itemsize

    @property
    def longest_source(self) -> int:
        """The longest input that fits."""
        return self._sources.longest

    def admit(self, slot: int, encoded: Tensor) -> None:
        """Start a record: `encoded` is the encoder's output, (length, width)."""
        self._sources.admit(slot, encoded)
        self.tokens[slot] = self._weights.start
        self.positions[slot] = 0
        if self._descent is not None:
            self._descent[slot] = _NEVER

    def enlarge(self, slots: int, reach: int, longest_source: int) -> None:
        """Make room for more records, longer texts or longer inputs, and keep the content."""
        width, before = self.width, (self.slots, self.reach, self.longest_source)
        after = (max(slots, self.slots), max(reach, self.reach), max(longest_source, self.longest_source))
        if before == after:
            return
        self.slots, self.reach, longest_source = after
        layers, _, _, both = self._cache.shape
        self._cache = resized(self._cache, (layers, self.slots, self.reach * width, both))
        self._sources.resize(self.slots, longest_source)
        self.tokens, self.positions = resized(self.tokens, (self.slots, width)), resized(self.positions, (self.slots,))
        if self._descent is not None:
            self._descent = resized(self._descent, (self.slots, width, self.reach * width), _NEVER)
        self._numbers = torch.arange(max(self.slots, width), device=self._numbers.device)

    def shrink(self, longest_source: int) -> None:
        """Shrink the table to inputs of this length, if that saves at least a fifth.

        Products with a whole table are up to eight times as fast as with the front part of a longer one.
        """
        if longest_source <= 0.8 * self.longest_source:
            self._sources.resize(self.slots, longest_source)

    def move(self, source: int, target: int) -> None:
        """Copy slot `source` to `target`."""
        self._cache[:, target] = self._cache[:, source]
        self._sources.move(source, target)
        for table in (self.tokens, self.positions, self._descent):
            if table is not None:
                table[target] = table[source]

    def advance(self, tokens: Tensor, parents: Tensor | None) -> None:
        """Append the chosen `tokens`, int64, (slots in use, width), each to the text of its slot that it continues."""
        count = tokens.shape[0]
        self.tokens[:count] = tokens
        self.positions[:count] += 1
        if parents is not None and self._descent is not None:
            wanted = parents.unsqueeze(2).expand(-1, -1, self._descent.shape[2])
            self._descent[:count] = self._descent[:count].gather(1, wanted)

    @torch.inference_mode()
    def step(self, count: int, keys: int, sources: int) -> Tensor:
        """Compute the scores of every next token, (count, width, vocabulary), for the first `count` slots.

        `keys` is at least the largest number of steps of any of them, this one included; `sources` the longest input.
        """
        weights, side, width = self._weights, self._weights.decoder, self.width
        norm_first, inner = weights.norm_first, side.heads * side.head_size
        # A finished text's position may be past the end; clamped, so that it writes into no other text and has an embedding.
        positions = self.positions[:count].clamp(max=min(self.reach, weights.longest_target or self.reach) - 1)
        texts = self._numbers[:width]
        places = positions.unsqueeze(1) * width + texts  # (count, width), in a slot's cache
        flat = (self._numbers[:count].unsqueeze(1) * (self.reach * width) + places).flatten()  # (rows,)
        if self._descent is not None:
            self._descent.view(-1, self.reach * width)[: count * width].scatter_(1, places.view(-1, 1), 0.0)
        visible = self._visible(positions, keys)
        rows = side.embed(self.tokens[:count].flatten(), positions.repeat_interleave(width))  # (rows, width of model)
        for index, layer in enumerate(weights.decoder_layers):
            part = layer.attention
            projected = part.into(part.norm(rows) if norm_first else rows)  # (rows, 3 * inner)
            cache = self._cache[index]
            cache.view(-1, 2 * inner).index_copy_(0, flat, projected[:, inner:])
            query = projected[:, :inner].view(count, width, side.heads, side.head_size).transpose(1, 2)
            seen = cache[:count, : keys * width].view(count, keys * width, 2, side.heads, side.head_size)
            key, value = seen.permute(2, 0, 3, 1, 4)  # (count, heads, keys * width, head size)
            attended = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=visible, scale=side.score_scale
            )
            rows = part.out.plus(attended.transpose(1, 2).reshape(-1, inner), rows)
            if not norm_first:
                rows = part.norm(rows)
            cross = layer.cross
            looked = self._sources.look(index, cross, cross.norm(rows) if norm_first else rows, count, sources)
            rows = cross.out.plus(looked, rows)
            if not norm_first:
                rows = cross.norm(rows)
            forward = layer.feed_forward
            rows = forward.out.plus(forward.hidden(forward.norm(rows) if norm_first else rows), rows)
            if not norm_first:
                rows = forward.norm(rows)
        if side.last_norm is not None:
            rows = side.last_norm(rows)
        return weights.head(rows).view(count, width, -1)

    def _visible(self, positions: Tensor, keys: int) -> Tensor:
        """Return the additive mask and bias of self-attention, (count, heads or 1, width, keys * width)."""
        side, count = self._weights.decoder, positions.shape[0]
        if side.distances is not None:
            bias = side.distances.from_last(positions, keys)  # (count, heads, keys)
        else:
            bias = torch.zeros(count, 1, keys, dtype=self._weights.dtype, device=positions.device)
        if self._descent is not None:
            descent = self._descent[:count, :, : keys * self.width].unsqueeze(1)
            return bias.repeat_interleave(self.width, dim=2).unsqueeze(2) + descent
        ahead = self._ahead(positions, keys)
        return bias.masked_fill(ahead.unsqueeze(1), _NEVER).unsqueeze(2).contiguous()

    def _ahead(self, positions: Tensor, keys: int) -> Tensor:
        """Return the mask of cache entries that this text has not reached yet, bool, (count, keys)."""
        return torch.arange(keys, device=positions.device) > positions.unsqueeze(1)


def longest(values: Sequence[int], step: int, most: int) -> int:
    """Return the largest of `values`, rounded up to a multiple of `step`, so that only few shapes are recorded."""
    return min(most, -(-max(values) // step) * step)
