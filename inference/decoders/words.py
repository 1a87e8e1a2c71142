"""Incremental detokenization.

A character may span tokens, so its bytes are held back until it is complete; and the space before a word may depend on the
previous token, so a token is decoded together with its neighbours. Each step decodes only a few tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference.decoders import GenerationRequest, TokenEvent

# The number of prompt tokens on which a first word may depend.
_BEFORE = 5
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Words:
    """One text during its generation."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._ids = list(prompt[-_BEFORE:])  # the last tokens; earlier ones are not decoded again
        self._read = len(self._ids)
        self._longest = max(map(len, stops), default=0)
        self.text = ""

    def add(self, token: int) -> tuple[str, bool]:
        """Return the text that `token` adds, truncated at a stop sequence, and True if it completed one."""
        self._ids.append(token)
        return self._grown(self._added(whole=False))

    def rest(self) -> str:
        """Return the text that is held back at the end: the bytes of an incomplete character."""
        return self._grown(self._added(whole=True))[0]

    def _grown(self, added: str) -> tuple[str, bool]:
        before = len(self.text)
        self.text += added
        # Only new text can complete a stop sequence, which then starts at most its own length before the new text.
        tail = max(0, before - self._longest + 1)
        ends = [at + len(stop) for stop in self._stops if added and (at := self.text.find(stop, tail)) >= 0]
        if not ends:
            return added, False
        self.text = self.text[: min(ends)]
        return self.text[before:], True

    def _added(self, *, whole: bool) -> str:
        known, grown = self._decoded(self._ids[: self._read]), self._decoded(self._ids)
        if len(grown) <= len(known) or (grown.endswith(_BROKEN) and not whole):
            return ""
        self._ids = self._ids[self._read :]
        self._read = len(self._ids)
        return grown[len(known) :]

    def _decoded(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


class Detokenizer:
    """Incremental detokenizer of one request: an event for each token."""

    def __init__(self, detokenizers: Detokenizers, prompt: GenerationRequest) -> None:
        self._detokenizers, self._words = (
            detokenizers,
            Words(detokenizers.tokenizer, prompt.tokens, prompt.settings.stop),
        )
        self._stopped = False

    def event(self, token: int, logprob: float) -> TokenEvent:
        """Return the event of the next token, with `finish` if the token ends the text."""
        detokenizers, special = self._detokenizers, token in self._detokenizers.special
        if special:
            text = detokenizers.tokenizer.decode([token])
        else:
            text, self._stopped = self._words.add(token)
        finish = "eos_token" if token in detokenizers.ends else "stop_sequence" if self._stopped else None
        return TokenEvent(token, text, logprob, special, finish)

    def last(self, event: TokenEvent, finish: str) -> TokenEvent:
        """Return `event` as the text's last one, with the bytes that were held back, and the whole text."""
        rest = "" if self._stopped else self._words.rest()
        text = event.text if event.special else event.text + rest
        return TokenEvent(event.id, text, event.logprob, event.special, finish, self._words.text)


def ends_of(generation_config: Any) -> list[int]:
    """Return the ids of the tokens that end a text, from the model's own configuration."""
    ends = getattr(generation_config, "eos_token_id", None)
    return [token for token in (ends if isinstance(ends, list) else [ends]) if token is not None]


class Detokenizers:
    """Detokenizer of a model, with its special tokens and end tokens."""

    def __init__(self, tokenizer: Any, generation_config: Any) -> None:
        self.tokenizer = tokenizer
        self.ends = {token for token in (*ends_of(generation_config), tokenizer.eos_token_id) if token is not None}
        self.special = set(tokenizer.all_special_ids)

    def of(self, prompt: GenerationRequest) -> Detokenizer:
        return Detokenizer(self, prompt)
