"""Weights of T5 and BART models, from transformers' own modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.engines.weights import (
    ACTIVATIONS,
    CrossAttention,
    DecoderLayer,
    Distances,
    EncoderLayer,
    FeedForward,
    Linear,
    Norm,
    SelfAttention,
    Side,
    Weights,
    can_fuse,
)


def reader_of(model: PreTrainedModel) -> Callable[..., Weights] | None:
    """Return the weight reader for the model; None for an unknown family or a model on several devices.

    Decided by the exact class name: a subclass, or a class of the same layout, may compute something else.
    """
    readers = {
        "T5ForConditionalGeneration": (_t5, "dense_act_fn"),
        "BartForConditionalGeneration": (_bart, "activation_function"),
    }
    reader, activation = readers.get(type(model).__name__, (None, ""))
    known = not getattr(model, "hf_quantizer", None) and getattr(model.config, activation, None) in ACTIVATIONS
    return reader if known and on_one_device(model) else None


def on_one_device(model: PreTrainedModel) -> bool:
    return len({parameter.device for parameter in model.parameters()}) == 1


@torch.inference_mode()
def read_weights(model: PreTrainedModel, *, dtype: torch.dtype | None = None, fused: bool = True) -> Weights:
    """Read a model's weights in `dtype`, by default its own.

    Raises:
        ValueError: the model is of no supported family.
    """
    reader = reader_of(model)
    if reader is None:
        raise ValueError(f"{type(model).__name__} is not of a family that this engine knows.")
    dtype = dtype or model.dtype
    return reader(model, _Maker(dtype, fused and can_fuse(model.device, dtype)))


@torch.inference_mode()
def read_classifier(model: Any, *, fused: bool = True) -> tuple[Weights, Linear, Linear]:
    """Read the weights of a BART classifier, and of its head's two layers."""
    make = _Maker(model.dtype, fused and can_fuse(model.device, model.dtype))
    head = model.classification_head
    classes = make.linear(head.out_proj)
    return _bart(model, make, classes), make.linear(head.dense), classes


class _Maker:
    """Makes parts from modules, all in one dtype."""

    def __init__(self, dtype: torch.dtype, fused: bool) -> None:
        self._dtype, self._fused = dtype, fused
        self._tables: dict[int, Tensor] = {}

    def table(self, module: Any) -> Tensor:
        """Return an embedding's rows, shared by encoder and decoder if the model shares them."""
        return self._tables.setdefault(module.weight.data_ptr(), self.tensor(module.weight))

    def tensor(self, *parts: Tensor) -> Tensor:
        """Return the parts concatenated, in their own memory."""
        return torch.cat([part.detach() for part in parts]).to(self._dtype).contiguous()

    def bias(self, *modules: Any) -> Tensor | None:
        biases = [module.bias for module in modules]
        return self.tensor(*biases) if all(bias is not None for bias in biases) else None

    def linear(self, *modules: Any) -> Linear:
        return Linear(self.tensor(*(module.weight for module in modules)), self.bias(*modules), fused=self._fused)

    def head(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return Linear(self.tensor(weight), bias if bias is None else self.tensor(bias), fused=self._fused)

    def norm(self, module: Any, scale: float = 1.0) -> Norm:
        bias = getattr(module, "bias", None)
        epsilon = module.variance_epsilon if bias is None else module.eps
        return Norm(self.tensor(module.weight) * scale, None if bias is None else self.tensor(bias), epsilon)

    def cross(self, norm: Any, query: Any, key: Any, value: Any, out: Any, heads: int) -> CrossAttention:
        by_head = [module.weight.detach().to(self._dtype).unflatten(0, (heads, -1)) for module in (key, value)]
        return CrossAttention(
            self.norm(norm),
            self.linear(query),
            self.linear(key, value),
            by_head[0].contiguous(),
            by_head[1].transpose(1, 2).contiguous(),
            self.bias(value),
            self.linear(out),
        )


def _t5(model: Any, make: _Maker) -> Weights:
    config = model.config

    def attention(block: Any) -> SelfAttention:
        inner = block.layer[0].SelfAttention
        return SelfAttention(
            make.norm(block.layer[0].layer_norm), make.linear(inner.q, inner.k, inner.v), make.linear(inner.o)
        )

    def feed_forward(block: Any) -> FeedForward:
        inner = block.layer[-1].DenseReluDense
        gated = config.is_gated_act
        return FeedForward(
            make.norm(block.layer[-1].layer_norm),
            make.linear(inner.wi_0 if gated else inner.wi),
            make.linear(inner.wi_1) if gated else None,
            make.linear(inner.wo),
            config.dense_act_fn,
        )

    def cross(block: Any) -> CrossAttention:
        inner = block.layer[1].EncDecAttention
        return make.cross(block.layer[1].layer_norm, inner.q, inner.k, inner.v, inner.o, config.num_heads)

    def distances(stack: Any) -> Distances:
        inner = stack.block[0].layer[0].SelfAttention
        reach = config.relative_attention_max_distance
        table = inner.compute_bias(reach + 1, reach + 1)[0]  # (heads, queries, keys)
        # The last query sees up to `reach` tokens back, the first one as many ahead.
        line = torch.cat((table[:, -1], table[:, 0, 1:]), dim=1)
        return Distances(make.tensor(line), reach)

    def side(stack: Any, scale: float) -> Side:
        last = make.norm(stack.final_layer_norm, scale)
        tokens = make.table(stack.embed_tokens)
        return Side(tokens, 1.0, None, None, last, distances(stack), config.num_heads, config.d_kv, 1.0)

    # The scale of tied embeddings stands behind the last norm, and so can stand in it.
    scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
    return Weights(
        encoder=side(model.encoder, 1.0),
        decoder=side(model.decoder, scale),
        encoder_layers=tuple(EncoderLayer(attention(block), feed_forward(block)) for block in model.encoder.block),
        decoder_layers=tuple(
            DecoderLayer(attention(block), cross(block), feed_forward(block)) for block in model.decoder.block
        ),
        head=make.head(model.lm_head.weight, None),
        norm_first=True,
        start=config.decoder_start_token_id,
        longest_source=None,
        longest_target=None,
    )


def _bart(model: Any, make: _Maker, head: Linear | None = None) -> Weights:
    config = model.config
    heads = config.decoder_attention_heads

    def attention(layer: Any) -> SelfAttention:
        inner = layer.self_attn
        return SelfAttention(
            make.norm(layer.self_attn_layer_norm),
            make.linear(inner.q_proj, inner.k_proj, inner.v_proj),
            make.linear(inner.out_proj),
        )

    def cross(layer: Any) -> CrossAttention:
        inner = layer.encoder_attn
        return make.cross(
            layer.encoder_attn_layer_norm, inner.q_proj, inner.k_proj, inner.v_proj, inner.out_proj, heads
        )

    def feed_forward(layer: Any) -> FeedForward:
        norm, into, out = make.norm(layer.final_layer_norm), make.linear(layer.fc1), make.linear(layer.fc2)
        return FeedForward(norm, into, None, out, config.activation_function)

    def side(stack: Any, heads: int) -> Side:
        # BART keeps two rows in front of position 0.
        positions = make.tensor(stack.embed_positions.weight[2:])
        scale = config.d_model**0.5 if config.scale_embedding else 1.0
        first = make.norm(stack.layernorm_embedding)
        tokens = make.table(stack.embed_tokens)
        size = config.d_model // heads
        return Side(tokens, scale, positions, first, None, None, heads, size, size**-0.5)

    encoder, decoder = model.model.encoder, model.model.decoder
    return Weights(
        encoder=side(encoder, config.encoder_attention_heads),
        decoder=side(decoder, heads),
        encoder_layers=tuple(EncoderLayer(attention(layer), feed_forward(layer)) for layer in encoder.layers),
        decoder_layers=tuple(
            DecoderLayer(attention(layer), cross(layer), feed_forward(layer)) for layer in decoder.layers
        ),
        head=head or make.head(model.lm_head.weight, model.final_logits_bias[0]),
        norm_first=False,
        start=config.decoder_start_token_id,
        longest_source=config.max_position_embeddings,
        longest_target=config.max_position_embeddings,
    )
