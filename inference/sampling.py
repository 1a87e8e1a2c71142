"""Sampling whose outcome belongs to the record: not to its neighbours, its place in a batch or the order of work.

`generate` draws from one global generator, so a row's text depends on who shares its batch. Here each row has numbers
of its own, from a counter-based generator keyed by seed and text, and a token is picked by inverting the cumulative
distribution at that number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

DEFAULT_SEED = 0


def record_key(seed: int | None, text: str) -> int:
    """What a record's draws are keyed by. The text is in it, so that a whole job's one seed gives each text its own."""
    seed = DEFAULT_SEED if seed is None else seed
    digest = hashlib.sha256(f"{seed}\0".encode() + text.encode(errors="surrogatepass"))
    return int.from_bytes(digest.digest()[:16], "big")


def uniform_draws(key: int, sequence: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """`count` numbers in [0, 1) for one returned sequence of one record."""
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, sequence])).random(count)


class RecordSampler(LogitsProcessor):  # type: ignore[misc]  # transformers publishes no types
    """Leaves one token possible in each row: the one that this row's own number picks.

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
        """Scores of one step, shape (rows, vocabulary): 0 for the picked token, -inf for all others."""
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
    """The token that each row's draw picks from its distribution, int64, (rows,).

    `scores`: (rows, vocabulary); `draws`: in [0, 1), float64, (rows,). Each row has settings of its own.
    """
    vocabulary, device = scores.shape[-1], scores.device
    heat, share = (
        torch.tensor(values, dtype=torch.float64, device=device).unsqueeze(1) for values in (temperature, top_p)
    )
    most = torch.tensor([min(number, vocabulary) or vocabulary for number in top_k], device=device).unsqueeze(1)
    # float64: over a vocabulary of 32,000 a float32 sum drifts by more than the rarest tokens weigh.
    probabilities = (scores.double() / heat).softmax(dim=-1)
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulative = ordered.cumsum(dim=-1)
    # top_k comes first, so top_p is a share of what top_k leaves.
    outside = cumulative - ordered >= share * cumulative.gather(1, most - 1)
    outside |= torch.arange(vocabulary, device=device) >= most
    outside[:, 0] = False
    cumulative = ordered.masked_fill(outside, 0.0).cumsum(dim=-1)
    draw = draws.to(device).unsqueeze(1) * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, draw, right=True).clamp_(max=vocabulary - 1)
    return tokens.gather(1, place).squeeze(1)
