"""What a decoder answers before its server is ready: the step engine is taken only where it agrees with `generate`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from inference.decoders import Continuation, Continuing, Piece, Ticket
from inference.decoders.settings import Decoding, Limits

# Of different lengths, so that one is padded beside the other.
_TEXTS = ("Hello", "The first question that a model is asked is a short one, and this is it.")
_NEW_TOKENS = 3

log = logging.getLogger("inference")


def answers(engine: Continuing, prompts: Sequence[Continuation]) -> list[list[Piece]]:
    """Return each prompt's pieces, answered on this thread."""
    found: list[list[Piece]] = [[] for _ in prompts]
    for prompt, pieces in zip(prompts, found, strict=True):
        engine.submit(Ticket(prompt, pieces.append))
    while engine.step():
        pass
    return found


def prompts_for(tokenizer: Any, limits: Limits) -> list[Continuation]:
    """Return two short prompts within the limits."""
    new = min(_NEW_TOKENS, limits.total_tokens - 1)
    most = min(limits.input_length, limits.total_tokens - new)
    found = []
    for text in _TEXTS:
        tokens = tuple(tokenizer(text)["input_ids"])[:most]
        if tokens:
            found.append(Continuation(text, tokens, Decoding(max_new_tokens=new), 0))
    return found


def failure(engine: Continuing, prompts: Sequence[Continuation]) -> str | None:
    """Return why `engine` fails on one of `prompts`, or None."""
    for pieces in answers(engine, prompts):
        last = pieces[-1] if pieces else None
        if last is None or last.finish is None or last.error:
            return last.error if last is not None and last.error else "it says nothing"
    return None


def agree(engine: Continuing, reference: Continuing, prompts: Sequence[Continuation], dtype: torch.dtype) -> bool:
    """Whether both answer alike: in float32 token by token, in 16 bits, where ties are many, without failing."""
    mine = answers(engine, prompts)
    if any(not pieces or pieces[-1].error for pieces in mine):
        return False
    if dtype != torch.float32:
        return True
    theirs = answers(reference, prompts)
    return [[piece.id for piece in pieces] for pieces in mine] == [[piece.id for piece in pieces] for pieces in theirs]
