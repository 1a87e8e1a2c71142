"""The encoder over packed texts of any lengths: all tokens concatenated, without padding.

All operations except attention work on single tokens, so they need no text boundaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from inference.engines.transfers import onto
from inference.engines.weights import Side, Weights


class PackedAttention(Protocol):
    """Attention of texts to themselves. Made for one batch, used by each layer."""

    def __call__(self, projected: Tensor) -> Tensor:
        """From (tokens, 3 * heads * head size) to (tokens, heads * head size)."""
        ...


class AttentionMaker(Protocol):
    """Prepares attention for texts of these lengths, in the order in which they are packed."""

    def __call__(self, side: Side, lengths: Sequence[int]) -> PackedAttention: ...


class Encoder:
    """Compute the encoder's output, the only thing that the decoder needs of a text."""

    def __init__(self, weights: Weights, attention: AttentionMaker | None = None) -> None:
        self._weights = weights
        self._attention = attention or TextByText

    @torch.inference_mode()
    def encode(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return the encoder's output, (length, width), for each text."""
        lengths = [len(text) for text in texts]
        device = self._weights.device
        tokens = onto(device, torch.tensor([token for text in texts for token in text]))  # (tokens,)
        positions = onto(device, torch.cat([torch.arange(length) for length in lengths]))  # (tokens,)
        side, norm_first = self._weights.encoder, self._weights.norm_first
        attention = self._attention(side, lengths)
        rows = side.embed(tokens, positions)  # (tokens, width)
        for layer in self._weights.encoder_layers:
            part = layer.attention
            attended = attention(part.into(part.norm(rows) if norm_first else rows))
            rows = part.out.plus(attended, rows)
            if not norm_first:
                rows = part.norm(rows)
            forward = layer.feed_forward
            hidden = forward.hidden(forward.norm(rows) if norm_first else rows)
            rows = forward.out.plus(hidden, rows)
            if not norm_first:
                rows = forward.norm(rows)
        if side.last_norm is not None:
            rows = side.last_norm(rows)
        return list(torch.split(rows, lengths))


class TextByText:
    """Attention with one call for each text. On a CPU one text's attention uses the core fully, so packing gains nothing."""

    def __init__(self, side: Side, lengths: Sequence[int]) -> None:
        self._side, self._lengths = side, list(lengths)
        distances = side.distances
        self._biases = {length: distances.mirrored(length) for length in set(lengths)} if distances else {}

    def __call__(self, projected: Tensor) -> Tensor:
        side = self._side
        inner = side.heads * side.head_size
        out = projected.new_empty(projected.shape[0], inner)
        attend = _plainly if projected.dtype == torch.bfloat16 and projected.device.type == "cpu" else _fused
        for text, into in zip(torch.split(projected, self._lengths), torch.split(out, self._lengths), strict=True):
            length = text.shape[0]
            bias, keys_values = self._biases.get(length), text[:, inner:]
            if bias is not None:
                keys_values = keys_values.flip(0)
            query = text[:, :inner].view(length, side.heads, side.head_size).transpose(0, 1)
            key, value = keys_values.view(length, 2, side.heads, side.head_size).permute(1, 2, 0, 3)
            attended = attend(query, key, value, bias, side.score_scale)  # (heads, length, size)
            into.view(length, side.heads, side.head_size).copy_(attended.transpose(0, 1))
        return out


def attend_by_text(
    side: Side, query: Tensor, keys_values: Tensor, queries: Sequence[int], keys: Sequence[int], *, causal: bool = False
) -> Tensor:
    """Compute attention of packed queries, (tokens, heads * head size), to packed keys beside values, text by text.

    Adjacent texts of equal lengths share a call.
    """
    out = query.new_empty(query.shape)
    runs = [(len(list(run)), *pair) for pair, run in groupby(zip(queries, keys, strict=True))]  # texts, queries, keys
    asked, known = [n * each for n, each, _ in runs], [n * each for n, _, each in runs]
    for (texts, _, _), mine, theirs, into in zip(
        runs, torch.split(query, asked), torch.split(keys_values, known), torch.split(out, asked), strict=True
    ):
        by_head = mine.view(texts, -1, side.heads, side.head_size).transpose(1, 2)  # (texts, heads, queries, size)
        both = theirs.view(texts, -1, 2, side.heads, side.head_size).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(
            by_head, both[0], both[1], is_causal=causal, scale=side.score_scale
        )
        into.view(texts, -1, side.heads, side.head_size).copy_(found.transpose(1, 2))
    return out


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Compute attention, (heads, length, head size), without storing the scores."""
    query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
    mask = None if bias is None else bias.unsqueeze(0)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)[0]


def _plainly(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Compute the same in three steps: in bfloat16 torch's fused kernel for CPUs takes 1.5 times as long."""
    turned = key.transpose(1, 2)
    scores = torch.bmm(query * scale, turned) if bias is None else torch.baddbmm(bias, query, turned, alpha=scale)
    return torch.bmm(scores.softmax(dim=-1), value)
