"""Made-up texts for tiny models."""

from __future__ import annotations

import torch

_SENTENCE = "the quick brown fox jumps over a lazy dog while nobody at all looks on"
WORDS = f"{_SENTENCE} this example is about sport weather music".split()


def sentences(count: int, *, seed: int = 0, longest: int = 30) -> list[str]:
    """Different texts of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        length = int(torch.randint(1, longest, (), generator=generator))
        chosen = torch.randint(0, len(WORDS), (length,), generator=generator).tolist()
        found.append(f"{number} " + " ".join(WORDS[place] for place in chosen))
    return found
