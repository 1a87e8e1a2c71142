"""BART as a classifier of pairs, padding-free: the engine's own encoder, and a decoder that reads each pair once.

Only the last token's output is used, so the last layer computes only that token.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.engines.cuda import AtOnce, attend_at_once
from inference.engines.encoder import Encoder, attend_by_text
from inference.engines.transfers import onto
from inference.engines.weight_reading import on_one_device, read_classifier
from inference.engines.weights import DecoderLayer

# The largest accepted difference from the model's own probability: bfloat16 has three bits less than float16.
MOST_APART = {torch.float16: 0.01, torch.bfloat16: 0.08}
_LENGTHS = (2, 7, 19, 40, 90)

log = logging.getLogger("inference")


@dataclass(frozen=True, slots=True)
class _Packed:
    """Lengths of packed texts, and the positions of their last tokens."""

    lengths: list[int]
    last: Tensor  # int64, (texts,): each text's last token


class BartPairs:
    """Class logits of pairs."""

    def __init__(self, model: PreTrainedModel, *, fused: bool = True, at_once: bool = False) -> None:
        """Make the engine; with `at_once`, attention is one kernel for texts of all lengths, not one for each length."""
        self._weights, self._dense, self._classes = read_classifier(model, fused=fused)
        self._attend = attend_at_once if at_once else attend_by_text
        self._encoder = Encoder(self._weights, AtOnce if at_once else None)
        # The decoder's first token; the rest is its input, shifted.
        self._start = model.config.decoder_start_token_id

    @torch.inference_mode()
    def logits(self, pairs: Sequence[Sequence[int]]) -> Tensor:
        """(pairs, classes)"""
        encoded = torch.cat(self._encoder.encode(pairs))  # (tokens, width)
        device, side = self._weights.device, self._weights.decoder
        lengths = [len(pair) for pair in pairs]
        packed = _Packed(lengths, onto(device, torch.tensor(lengths).cumsum(0) - 1))
        read = [token for pair in pairs for token in (self._start, *pair[:-1])]
        positions = onto(device, torch.cat([torch.arange(length) for length in lengths]))
        rows = side.embed(onto(device, torch.tensor(read)), positions)  # (tokens, width)
        *before, last = self._weights.decoder_layers
        for layer in before:
            rows = self._layer(layer, rows, encoded, packed, only_last=False)
        rows = self._layer(last, rows, encoded, packed, only_last=True)  # (pairs, width)
        return self._classes(torch.tanh(self._dense(rows)))

    def _layer(self, layer: DecoderLayer, rows: Tensor, encoded: Tensor, packed: _Packed, *, only_last: bool) -> Tensor:
        """One layer over all tokens, (tokens, width); or over each text's last, (texts, width)."""
        side = self._weights.decoder
        inner, part, cross = side.heads * side.head_size, layer.attention, layer.cross
        query, keys_values = torch.split(part.into(rows), [inner, 2 * inner], dim=1)
        lengths, queries = packed.lengths, packed.lengths
        if only_last:
            query, rows, queries = query[packed.last], rows[packed.last], [1] * len(lengths)
        # A last token attends to all tokens before it, so it needs no causal mask.
        attended = self._attend(side, query, keys_values, queries, lengths, causal=not only_last)
        rows = part.norm(part.out.plus(attended, rows))
        attended = self._attend(side, cross.query(rows), cross.keys_values(encoded), queries, lengths)
        rows = cross.norm(cross.out.plus(attended, rows))
        forward = layer.feed_forward
        return forward.norm(forward.out.plus(forward.hidden(rows), rows))


def bart_pairs(model: PreTrainedModel) -> BartPairs | None:
    """Return the engine for `model` if both support it: the GPU's kernel needs Ampere or newer."""
    if not does(model):
        return None
    if model.device.type == "cpu":
        return BartPairs(model)
    try:
        found = BartPairs(model, at_once=True)
        apart = _apart(found, model)
    except Exception as error:  # noqa: BLE001  # whatever is missing, there is a way without it
        log.warning("Pairs are padded, because attention to texts of all lengths at once does not work here: %s", error)
        return None
    if not apart <= MOST_APART[model.dtype]:
        log.warning("Pairs are padded, because the engine's scores are %.3f apart from the model's own here.", apart)
        return None
    return found


@torch.inference_mode()
def _apart(engine: BartPairs, model: PreTrainedModel) -> float:
    """Return the largest difference of a probability from the model's own, over a few pairs of random tokens."""
    end, chance = int(model.config.eos_token_id), torch.Generator().manual_seed(0)
    vocabulary, most = model.get_input_embeddings().num_embeddings, model.config.max_position_embeddings
    rows = [torch.randint(3, vocabulary, (min(length, most) - 1,), generator=chance).tolist() for length in _LENGTHS]
    # The class is read at the end token, which has to be the only one.
    pairs = [[*(token if token != end else end + 1 for token in row), end] for row in rows]
    mine = engine.logits(pairs).float().softmax(dim=-1)
    device = model.get_input_embeddings().weight.device
    each = [model(input_ids=onto(device, torch.tensor([pair])), use_cache=False).logits for pair in pairs]
    return float((mine - torch.cat(each).float().softmax(dim=-1)).abs().max())


def does(model: PreTrainedModel) -> bool:
    """Return True if this engine supports `model`, by exact class name: similar classes may compute something else."""
    config, on_cpu = model.config, model.device.type == "cpu"
    return (
        type(model).__name__ == "BartForSequenceClassification"
        and on_one_device(model)
        and model.dtype in ((torch.float32, torch.bfloat16) if on_cpu else (torch.float16, torch.bfloat16))
        and getattr(config, "activation_function", None) in ("relu", "gelu", "gelu_new", "silu", "swish")
        and not getattr(model, "hf_quantizer", None)
    )
