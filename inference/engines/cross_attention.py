"""Cross-attention: the cached encoder outputs or keys and values of each slot, and attention to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from inference.engines.buffers import resized
from inference.engines.weights import CrossAttention, Weights

_NEVER = float("-inf")


class CrossAttentionCache(Protocol):
    """Cross-attention cache; `longest` is its capacity in tokens for one input."""

    longest: int

    def admit(self, slot: int, encoded: Tensor) -> None:
        """Store the encoder's output, (length, width), of the text in a slot."""
        ...

    def resize(self, slots: int, longest: int) -> None:
        """Grow or shrink the cache, keeping the contents that fit."""
        ...

    def move(self, source: int, target: int) -> None:
        """Copy slot `source` to `target`."""
        ...

    def look(self, index: int, cross: CrossAttention, rows: Tensor, count: int, sources: int) -> Tensor:
        """Compute layer `index`'s attention to the first `count` slots' inputs, none of which is longer than `sources`.

        From (count * width of a slot, width of the model) to (the same, heads * head size).
        """
        ...


@dataclass(slots=True)
class _Table:
    """Numbers of all slots' inputs, and along which axes both are counted."""

    numbers: Tensor
    slots: int
    sources: int
    filling: float = 0.0

    def resize(self, slots: int, longest: int) -> None:
        shape = list(self.numbers.shape)
        shape[self.slots], shape[self.sources] = slots, longest
        self.numbers = resized(self.numbers, shape, self.filling)

    def move(self, source: int, target: int) -> None:
        self.numbers.select(self.slots, target).copy_(self.numbers.select(self.slots, source))


class _CrossAttentionCache:
    """Shared by both kinds of cache: the mask of used positions, and resizing."""

    def __init__(self, weights: Weights, slots: int, longest: int) -> None:
        self._side, self.longest = weights.decoder, longest
        # Additive mask: 0 or -inf. An unused slot attends to its empty cache, as a fully masked softmax would be NaN.
        hidden = torch.zeros(slots, 1, self.longest, dtype=weights.dtype, device=weights.device)
        self._hidden = _Table(hidden, 0, 2, filling=_NEVER)

    def _tables(self) -> Sequence[_Table]:
        raise NotImplementedError

    def _show(self, slot: int, length: int) -> None:
        # The end of a former, longer text stays in the cache, but is masked.
        self._hidden.numbers[slot, 0, :length] = 0
        self._hidden.numbers[slot, 0, length:] = _NEVER

    def resize(self, slots: int, longest: int) -> None:
        self.longest = longest
        for table in (self._hidden, *self._tables()):
            table.resize(slots, self.longest)

    def move(self, source: int, target: int) -> None:
        for table in (self._hidden, *self._tables()):
            table.move(source, target)


class EncoderOutputCache(_CrossAttentionCache):
    """The encoder's output, once for all layers: absorbed cross-attention.

    The key's weight is folded into the query, and the value's weight is applied after the attention. This needs less memory,
    no computation when a record is admitted, and one product for all heads and beams.
    """

    def __init__(self, weights: Weights, slots: int, longest: int) -> None:
        super().__init__(weights, slots, longest)
        self._outputs = _Table(_zeros(weights, slots, longest, weights.width), 0, 1)

    def _tables(self) -> Sequence[_Table]:
        return (self._outputs,)

    def admit(self, slot: int, encoded: Tensor) -> None:
        self._outputs.numbers[slot, : encoded.shape[0]] = encoded
        self._show(slot, encoded.shape[0])

    def look(self, index: int, cross: CrossAttention, rows: Tensor, count: int, sources: int) -> Tensor:
        side, outputs = self._side, self._outputs.numbers[:count, :sources]
        hidden = self._hidden.numbers[:count, :, :sources]
        model_width = outputs.shape[2]
        by_head = cross.query(rows).view(-1, side.heads, side.head_size).transpose(0, 1)  # (heads, rows, head size)
        query = torch.bmm(by_head, cross.key_by_head).transpose(0, 1)  # (rows, heads, width of model)
        query = query.reshape(count, -1, model_width)
        scores = torch.baddbmm(hidden, query, outputs.transpose(1, 2), alpha=side.score_scale)
        found = torch.bmm(scores.softmax(dim=-1), outputs)  # (count, width * heads, width of model)
        found = found.view(-1, side.heads, model_width).transpose(0, 1)
        result = torch.bmm(found, cross.value_by_head).transpose(0, 1).reshape(rows.shape[0], -1)
        return result if cross.value_bias is None else result + cross.value_bias


class KeyValueCache(_CrossAttentionCache):
    """Each layer's own keys and values, by head."""

    def __init__(self, weights: Weights, slots: int, longest: int) -> None:
        super().__init__(weights, slots, longest)
        self._layers, side = weights.decoder_layers, weights.decoder
        shape = (len(self._layers), slots, side.heads, longest, side.head_size)
        self._keys = _Table(_zeros(weights, *shape), 1, 3)
        self._values = _Table(_zeros(weights, *shape), 1, 3)

    def _tables(self) -> Sequence[_Table]:
        return self._keys, self._values

    def admit(self, slot: int, encoded: Tensor) -> None:
        length, side = encoded.shape[0], self._side
        for layer, keys, values in zip(self._layers, self._keys.numbers, self._values.numbers, strict=True):
            both = layer.cross.keys_values(encoded).view(length, 2, side.heads, side.head_size)
            keys[slot, :, :length], values[slot, :, :length] = both.permute(1, 2, 0, 3)
        self._show(slot, length)

    def look(self, index: int, cross: CrossAttention, rows: Tensor, count: int, sources: int) -> Tensor:
        side, width = self._side, rows.shape[0] // count
        query = cross.query(rows).view(count, width, side.heads, side.head_size).transpose(1, 2)
        query = query.reshape(-1, width, side.head_size)  # (count * heads, width, head size)
        if side.score_scale != 1.0:
            query = query * side.score_scale
        keys = self._keys.numbers[index, :count, :, :sources].flatten(0, 1)
        values = self._values.numbers[index, :count, :, :sources].flatten(0, 1)
        hidden = self._hidden.numbers[:count, :, :sources].unsqueeze(1)
        scores = torch.bmm(query, keys.transpose(1, 2)).view(count, side.heads, width, sources) + hidden
        found = torch.bmm(scores.softmax(dim=-1).flatten(0, 1), values)  # (count * heads, width, head size)
        return found.view(count, side.heads, width, side.head_size).transpose(1, 2).reshape(rows.shape[0], -1)


def _zeros(weights: Weights, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=weights.dtype, device=weights.device)
