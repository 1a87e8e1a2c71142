"""A transformer's weights, laid out for speed: matrices that are always used together are joined into one.

T5 and BART differ only in the values that are read here: norm before or after the sum, with or without biases, and the
kind of positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# The row count for which packed weights are optimized; others work too.
_PACKED_FOR_ROWS = 1_024
# oneDNN's name and algorithm of an activation, by transformers' name.
ACTIVATIONS = {
    "relu": ("relu", ""),
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "silu": ("swish", ""),
    "swish": ("swish", ""),
}


def can_fuse(device: torch.device, dtype: torch.dtype) -> bool:
    """Return True if torch fuses a linear layer with its activation on this CPU, with packed weights.

    In half precision oneDNN packs only if the processor has instructions for it: with AVX2 alone it refuses.
    """
    found = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    if device.type != "cpu" or not found or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.float32:
        return True
    halves = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    supported = getattr(torch.ops.mkldnn, halves.get(dtype, ""), None)
    return supported is not None and bool(supported())


def packed(weight: Tensor) -> Tensor:
    """Pack a weight, (out, in), for `multiplied`."""
    return _tensor(torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS))


def multiplied(rows: Tensor, packed_weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply by packed weights: (…, in) to (…, out)."""
    return _tensor(torch.ops.mkldnn._linear_pointwise(rows, packed_weight, bias, "none", [], ""))


class Linear:
    """A linear layer and the operation after it: 2-D, (rows, in) to (rows, out), in the weight's dtype.

    If fused, oneDNN computes both in one call with prepacked weights: the rows are written once instead of up to six times,
    and a gelu costs nothing.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, fused: bool) -> None:
        self.weight, self.bias = weight, bias  # (out, in), (out,)
        self._packed = packed(weight) if fused else None

    def __call__(self, rows: Tensor) -> Tensor:
        if self._packed is None:
            return functional.linear(rows, self.weight, self.bias)
        return multiplied(rows, self._packed, self.bias)

    def activated(self, rows: Tensor, activation: str) -> Tensor:
        name, algorithm = ACTIVATIONS[activation]
        if self._packed is not None:
            return _tensor(torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, name, [], algorithm))
        product = self(rows)
        if name == "gelu":
            return functional.gelu(product, approximate=algorithm)
        return functional.relu(product) if name == "relu" else functional.silu(product)

    def times(self, rows: Tensor, factor: Tensor) -> Tensor:
        """Return the product times `factor`, (rows, out), elementwise."""
        if self._packed is None:
            return self(rows) * factor
        return _tensor(torch.ops.mkldnn._linear_pointwise.binary(rows, factor, self._packed, self.bias, "mul"))

    def plus(self, rows: Tensor, residual: Tensor) -> Tensor:
        """Return the product plus `residual`, (rows, out), which may be overwritten."""
        if self._packed is None and self.bias is None:
            # The product adds in place, so the result is written once, instead of written twice and read twice.
            return residual.addmm_(rows, self.weight.t())
        if self._packed is None:
            return residual + self(rows)
        return _tensor(torch.ops.mkldnn._linear_pointwise.binary(rows, residual, self._packed, self.bias, "add"))


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm, or T5's that neither centres nor shifts."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    def __call__(self, rows: Tensor) -> Tensor:
        if self.bias is None:
            return functional.rms_norm(rows, self.weight.shape, self.weight, self.epsilon)
        return functional.layer_norm(rows, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class SelfAttention:
    norm: Norm
    into: Linear  # to concatenated queries, keys and values: (3 * heads * head size, width)
    out: Linear


@dataclass(frozen=True, slots=True)
class CrossAttention:
    norm: Norm
    query: Linear
    keys_values: Linear  # (2 * heads * head size, width)
    # The weights of the same keys and values, split by head, to be folded into the query and the result.
    key_by_head: Tensor  # (heads, head size, width)
    value_by_head: Tensor  # (heads, width, head size)
    value_bias: Tensor | None  # (heads * head size,); a key's bias shifts all scores alike and so changes nothing
    out: Linear


@dataclass(frozen=True, slots=True)
class FeedForward:
    norm: Norm
    into: Linear
    gate: Linear | None
    out: Linear
    activation: str

    def hidden(self, rows: Tensor) -> Tensor:
        """(rows, feed-forward width)"""
        inner = self.into.activated(rows, self.activation)
        return inner if self.gate is None else self.gate.times(rows, inner)


@dataclass(frozen=True, slots=True)
class EncoderLayer:
    attention: SelfAttention
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    attention: SelfAttention
    cross: CrossAttention
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True)
class Side:
    """The weights of the encoder or the decoder, besides their layers."""

    tokens: Tensor  # (vocabulary, width)
    token_scale: float
    positions: Tensor | None  # (positions, width); None if positions are relative, in attention
    first_norm: Norm | None
    last_norm: Norm | None
    distances: Distances | None
    heads: int
    head_size: int
    score_scale: float

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return the embeddings, (rows, width), of token ids and their positions, both int64, (rows,)."""
        rows = functional.embedding(tokens, self.tokens)
        if self.token_scale != 1.0:
            rows = rows * self.token_scale
        if self.positions is not None:
            rows = rows + functional.embedding(positions, self.positions)
        return rows if self.first_norm is None else self.first_norm(rows)


@dataclass(frozen=True, slots=True)
class Distances:
    """T5's relative positions: the bias by a key's distance from the query, for each head; constant beyond `reach`."""

    bias: Tensor  # (heads, 2 * reach + 1), in the weights' dtype: distances from -reach to reach, key minus query
    reach: int

    def mirrored(self, length: int) -> Tensor:
        """Return the bias of every query to every key, the keys from last to first: (heads, length, length).

        With reversed keys, it is a strided view of one row of biases, so nothing as large as the scores is stored or read from
        memory at each layer.
        """
        line = self.bias[:, self._places(torch.arange(length - 1, -length, -1, device=self.bias.device))]
        return line.unfold(1, length, 1)

    def from_last(self, positions: Tensor, keys: int) -> Tensor:
        """Return the bias, (rows, heads, keys), of queries at `positions`, int64, (rows,), to keys at 0, 1, 2 …"""
        distance = torch.arange(keys, device=positions.device) - positions.unsqueeze(1)
        return self.bias.t()[self._places(distance)].transpose(1, 2)

    def _places(self, distance: Tensor) -> Tensor:
        return distance.clamp(-self.reach, self.reach) + self.reach


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole encoder-decoder model."""

    encoder: Side
    decoder: Side
    encoder_layers: tuple[EncoderLayer, ...]
    decoder_layers: tuple[DecoderLayer, ...]
    head: Linear
    # True if a norm is before each sublayer (T5), False if after its sum (BART).
    norm_first: bool
    start: int
    longest_source: int | None
    longest_target: int | None

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.tokens.dtype

    @property
    def device(self) -> torch.device:
        return self.encoder.tokens.device

    @property
    def width(self) -> int:
        return self.encoder.tokens.shape[1]


def _tensor(value: Tensor) -> Tensor:
    """torch.ops publishes no types."""
    return value
