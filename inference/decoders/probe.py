"""Start-up comparison of the step engine with `generate`; it is used only if both agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference.decoders import DecoderEngine, GenerationRequest, RequestHandle, TokenEvent
from inference.decoders.settings import Decoding, Limits

# Of different lengths, so that one is padded beside the other.
_TEXTS = ("Hello", "The first question that a model is asked is a short one, and this is it.")
_NEW_TOKENS = 3


def answers(engine: DecoderEngine, prompts: Sequence[GenerationRequest]) -> list[list[TokenEvent]]:
    """Return each prompt's events, generated on this thread."""
    found: list[list[TokenEvent]] = [[] for _ in prompts]
    for prompt, events in zip(prompts, found, strict=True):
        engine.submit(RequestHandle(prompt, events.append))
    while engine.step():
        pass
    return found


def prompts_for(tokenizer: Any, limits: Limits) -> list[GenerationRequest]:
    """Return two short prompts within the limits."""
    new = min(_NEW_TOKENS, limits.total_tokens - 1)
    most = min(limits.input_length, limits.total_tokens - new)
    found = []
    for text in _TEXTS:
        tokens = tuple(tokenizer(text)["input_ids"])[:most]
        if tokens:
            found.append(GenerationRequest(text, tokens, Decoding(max_new_tokens=new), 0))
    return found


def failure(engine: DecoderEngine, prompts: Sequence[GenerationRequest]) -> str | None:
    """Return why `engine` fails on one of `prompts`, or None."""
    for events in answers(engine, prompts):
        last = events[-1] if events else None
        if last is None or last.finish is None or last.error:
            return last.error if last is not None and last.error else "it says nothing"
    return None


def agree(engine: DecoderEngine, prompts: Sequence[GenerationRequest], wanted: Sequence[Sequence[int]] | None) -> bool:
    """Return True if `engine` answers all prompts, with the tokens `wanted` if given."""
    found = answers(engine, prompts)
    if any(not events or events[-1].error for events in found):
        return False
    return wanted is None or tokens_of(found) == wanted


def tokens_of(found: Sequence[Sequence[TokenEvent]]) -> list[list[int]]:
    return [[event.id for event in events] for events in found]
