"""Reproducible sampling per record, independent of batch neighbours, position and order of work.

`generate` draws from one global generator, so a row's text depends on the other rows of its batch. Here each row has its own
random numbers, from a counter-based generator keyed by seed and text, and a token is picked by inverting the cumulative
distribution at that number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from inference.engines.transfers import onto

DEFAULT_SEED = 0


def record_key(seed: int | None, text: str) -> int:
    """Return a record's random key; it includes the text, so that one job seed gives different draws for each."""
    seed = DEFAULT_SEED if seed is None else seed
    digest = hashlib.sha256(f"{seed}\0".encode() + text.encode(errors="surrogatepass"))
    return int.from_bytes(digest.digest()[:16], "big")


def uniform_draws(key: int, sequence: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return `count` random numbers in [0, 1) for one returned sequence of one record."""
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, sequence])).random(count)


class RecordSampler(LogitsProcessor):  # type: ignore[misc]  # transformers publishes no types
    """Logits processor that masks all tokens of a row except the one picked by the row's own random number.

    Rows are in `generate`'s order: all sequences of the first record, then all of the second.
    """

    def __init__(
        self, keys: Sequence[int], sequences: int, steps: int, *, temperature: float, top_k: int, top_p: float
    ) -> None:
        draws = [uniform_draws(key, sequence, steps) for key in keys for sequence in range(sequences)]
        self._draws = torch.from_numpy(np.stack(draws))  # (rows, steps), float64
        self._step = 0
        self._temperature, self._top_k, self._top_p = temperature, top_k, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores of one step, shape (rows, vocabulary): 0 for the picked token, -inf for all others."""
        rows = scores.shape[0]
        tokens = pick(
            scores,
            self._draws[:, self._step],
            temperature=[self._temperature] * rows,
            top_k=[self._top_k] * rows,
            top_p=[self._top_p] * rows,
        )
        self._step += 1
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens.unsqueeze(1), 0.0)


def pick(
    scores: Tensor, draws: Tensor, *, temperature: Sequence[float], top_k: Sequence[int], top_p: Sequence[float]
) -> Tensor:
    """Return the token that each row's draw picks from its distribution, int64, (rows,).

    `scores`: (rows, vocabulary); `draws`: in [0, 1), float64, (rows,). Each row has its own settings.
    """
    vocabulary, device = scores.shape[-1], scores.device
    heat, share = (
        onto(device, torch.tensor(values, dtype=torch.float64)).unsqueeze(1) for values in (temperature, top_p)
    )
    limits = [min(number, vocabulary) or vocabulary for number in top_k]
    most, kept = onto(device, torch.tensor(limits)).unsqueeze(1), max(limits)
    best, tokens = _best_first(scores, kept)
    # Not normalised by a sum over all tokens, so that a row's numbers don't depend on how many tokens other rows keep. float64,
    # because the error of a float32 sum over a vocabulary of 32,000 exceeds the probability of the rarest tokens.
    likely = ((best.double() - best[:, :1].double()) / heat).exp()
    cumulative = likely.cumsum(dim=-1)
    # top_k comes first, so top_p is a share of what top_k leaves.
    outside = cumulative - likely >= share * cumulative.gather(1, most - 1)
    outside |= torch.arange(kept, device=device) >= most
    outside[:, 0] = False
    cumulative = likely.masked_fill(outside, 0.0).cumsum(dim=-1)
    draw = onto(device, draws).unsqueeze(1) * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, draw, right=True).clamp_(max=kept - 1)
    return tokens.gather(1, place).squeeze(1)


def _best_first(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` best scores of each row, float32, and their tokens; of equal scores, frequent in bfloat16, the first."""
    scores, vocabulary = scores.float(), scores.shape[-1]
    if count == vocabulary:
        return scores.sort(dim=-1, descending=True, stable=True)
    # topk's choice among equal scores is undefined, so each score gets a unique sort key: its bits, made ordered, then its
    # place. Adding 0 turns -0 into 0.
    bits = (scores + 0.0).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFF_FFFF, bits).long()
    tokens = ((ordered << 32) - torch.arange(vocabulary, device=scores.device)).topk(count)[1]
    return scores.gather(1, tokens), tokens
