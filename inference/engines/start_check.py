"""Start-up comparison of GPU engines with `generate`: an engine with other results is not used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from inference.engines import Prompt, TextEngine
from inference.engines.generate import GenerateEngine
from inference.records.parameters import Generation

# The share of equal tokens required in 16 bits, where another order of sums changes close decisions. In float32 it is 1.
LEAST_ALIKE = 0.98
_LENGTHS = (2, 5, 9, 14, 20, 33, 47, 64, 90, 130, 180, 250)
# Enough steps of one size that it is recorded and replayed.
_NEW_TOKENS = 16

log = logging.getLogger("inference")


def checked(make: Callable[[], TextEngine], reference: GenerateEngine, vocabulary: int) -> TextEngine:
    """Return the engine that `make` returns if it agrees with `reference`, else `reference`, which then reports it."""
    dtype = reference.description.dtype
    least = 1.0 if dtype == "float32" else LEAST_ALIKE
    try:
        engine = make()
        share = alike(engine, reference, prompts_for(vocabulary))
    except Exception as error:  # noqa: BLE001  # whatever a device may raise, there is a way without the engine
        why = f"{type(error).__name__}: {error}"
    else:
        if share >= least:
            return engine
        why = f"{share:.3f} of its tokens are those of generate, and at least {least} have to be"
    log.warning("transformers' generate answers, because the engine failed its check at start: %s", why)
    reference.description = replace(reference.description, fallbacks=1)
    return reference


def prompts_for(vocabulary: int) -> list[Prompt]:
    """Return a few prompts of random tokens and different lengths, most of them greedy and some with beams."""
    chance = torch.Generator().manual_seed(0)
    rows = [torch.randint(min(3, vocabulary - 1), vocabulary, (length,), generator=chance) for length in _LENGTHS]
    greedy = Generation(max_new_tokens=_NEW_TOKENS)
    settings = [greedy] * len(rows) + [replace(greedy, num_beams=2)] * len(rows[:4])
    return [Prompt(tuple(row.tolist()), one, 0) for row, one in zip([*rows, *rows[:4]], settings, strict=True)]


def alike(engine: TextEngine, reference: TextEngine, prompts: Sequence[Prompt]) -> float:
    """Return the share of equal tokens, counted up to each text's first difference."""
    mine, theirs = dict(engine.generate(prompts)), dict(reference.generate(prompts))
    same = different = 0
    for place in range(len(prompts)):
        for one, other in zip(mine[place].sequences, theirs[place].sequences, strict=True):
            common = next(
                (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
            )
            same += common
            different += one != other
        if mine[place].error:
            raise RuntimeError(mine[place].error)
    return same / (same + different) if same + different else 1.0
