"""Tensors that a model of a known family must have, by the numbers in its config.json.

Only families whose classes are read here from transformers, and only tensors whose shape and presence follow from numbers that
config.json itself gives: what is refused at registration would be refused by the container at its start. The other tensors and
families are left to that start (inference/models/loading.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# A number of config.json, by its name; None: any size.
Shape = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor by the end of its name, with its shape; `{}` is the layer's number, counted by a field of config.json."""

    name: str
    shape: Shape
    layers: str = ""


def _in_layers(layers: str, prefix: str, shapes: Mapping[str, Shape]) -> tuple[_Tensor, ...]:
    return tuple(_Tensor(f"{prefix}.{{}}.{name}.weight", shape, layers) for name, shape in shapes.items())


_LLAMA = (
    _Tensor("embed_tokens.weight", ("vocab_size", "hidden_size")),
    *_in_layers("num_hidden_layers", "layers", {
        "self_attn.q_proj": (None, "hidden_size"),
        "self_attn.k_proj": (None, "hidden_size"),
        "self_attn.v_proj": (None, "hidden_size"),
        "self_attn.o_proj": ("hidden_size", None),
        "mlp.gate_proj": ("intermediate_size", "hidden_size"),
        "mlp.up_proj": ("intermediate_size", "hidden_size"),
        "mlp.down_proj": ("hidden_size", "intermediate_size"),
    }),
)  # fmt: skip
_T5_ATTENTION: Mapping[str, Shape] = {
    "q": (None, "d_model"), "k": (None, "d_model"), "v": (None, "d_model"), "o": ("d_model", None),
}  # fmt: skip
_T5 = (
    _Tensor("shared.weight", ("vocab_size", "d_model")),
    *_in_layers("num_layers", "encoder.block", {
        **{f"layer.0.SelfAttention.{name}": shape for name, shape in _T5_ATTENTION.items()},
        "layer.1.DenseReluDense.wo": ("d_model", "d_ff"),
    }),
    *_in_layers("num_decoder_layers", "decoder.block", {
        **{f"layer.0.SelfAttention.{name}": shape for name, shape in _T5_ATTENTION.items()},
        **{f"layer.1.EncDecAttention.{name}": shape for name, shape in _T5_ATTENTION.items()},
        "layer.2.DenseReluDense.wo": ("d_model", "d_ff"),
    }),
)  # fmt: skip
_BART_ATTENTION: Mapping[str, Shape] = {f"{name}_proj": ("d_model", "d_model") for name in ("q", "k", "v", "out")}
_BART = (
    _Tensor("shared.weight", ("vocab_size", "d_model")),
    *_in_layers("encoder_layers", "encoder.layers", {
        **{f"self_attn.{name}": shape for name, shape in _BART_ATTENTION.items()},
        "fc1": ("encoder_ffn_dim", "d_model"), "fc2": ("d_model", "encoder_ffn_dim"),
    }),
    *_in_layers("decoder_layers", "decoder.layers", {
        **{f"{place}.{name}": shape for place in ("self_attn", "encoder_attn") for name, shape in _BART_ATTENTION.items()},
        "fc1": ("decoder_ffn_dim", "d_model"), "fc2": ("d_model", "decoder_ffn_dim"),
    }),
)  # fmt: skip
_BERT = (
    _Tensor("embeddings.word_embeddings.weight", ("vocab_size", "hidden_size")),
    *_in_layers("num_hidden_layers", "encoder.layer", {
        **{f"attention.self.{name}": ("hidden_size", "hidden_size") for name in ("query", "key", "value")},
        "attention.output.dense": ("hidden_size", "hidden_size"),
        "intermediate.dense": ("intermediate_size", "hidden_size"),
        "output.dense": ("hidden_size", "intermediate_size"),
    }),
)  # fmt: skip
FAMILIES: Mapping[str, tuple[_Tensor, ...]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma"), _LLAMA),
    **dict.fromkeys(("t5", "mt5", "umt5"), _T5),
    **dict.fromkeys(("bart", "mbart", "m2m_100", "pegasus"), _BART),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _BERT),
}
# Of the names above: decoder.block.0.layer.1.EncDecAttention.q.weight has 8. A name in a file may have any number.
_MOST_PARTS = max(tensor.name.count(".") + 1 for tensors in FAMILIES.values() for tensor in tensors)


def shapes_problem(
    config: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]], *, decodes: bool = False
) -> str:
    """Return which tensor is missing or of another shape; empty where nothing tells.

    Args:
        config: config.json.
        shapes: Shapes of the tensors in the weight files that are loaded, by name.
        decodes: The model is opened as a decoder: an encoder-decoder then has one half alone.
    """
    known = FAMILIES.get(str(config.get("model_type")), ())
    if config.get("quantization_config") or (decodes and known in (_T5, _BART)):
        return ""
    if decodes and known is _LLAMA and config.get("tie_word_embeddings") is False and "lm_head.weight" not in shapes:
        return "the weights have no lm_head.weight, which config.json ties to nothing."
    by_end = {end: (name, shape) for name, shape in shapes.items() for end in _ends(name)}
    for tensor in known:
        for end in _names(tensor, config):
            found = by_end.get(end)
            if found is None:
                # Embeddings have several names, and heads may share them.
                if tensor.layers:
                    return f"the weights have no {end}, which config.json makes a part of the model."
                continue
            name, shape = found
            wanted = tuple(each if each is None else config.get(each) for each in tensor.shape)
            if _differs(shape, wanted):
                told = " by ".join("any" if each is None else str(each) for each in wanted)
                return f"{name} is {' by '.join(map(str, shape))}, and config.json makes it {told}."
    return ""


def _names(tensor: _Tensor, config: Mapping[str, object]) -> Iterator[str]:
    if not tensor.layers:
        yield tensor.name
        return
    count = config.get(tensor.layers)
    yield from (tensor.name.format(number) for number in range(count if isinstance(count, int) else 0))


def _ends(name: str) -> Iterator[str]:
    """The ends of a name after one of its last dots, and the name itself: checkpoints have prefixes or have none."""
    parts = name.rsplit(".", _MOST_PARTS)
    yield from (".".join(parts[number:]) for number in range(len(parts)))


def _differs(shape: tuple[int, ...], wanted: tuple[object, ...]) -> bool:
    """Return True if a size that config.json gives is another; what it leaves open is not compared."""
    if len(shape) != len(wanted):
        return True
    return any(isinstance(want, int) and size != want for size, want in zip(shape, wanted, strict=True))
