"""Token ids become text as they come.

A character may span tokens, so its bytes are held back until they are whole; and a word's space may depend on the token
before, so a token is read together with its neighbours. Each step looks at a few tokens, however long the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# How many tokens of the prompt a first word may depend on.
_BEFORE = 5
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Words:
    """One text as it grows."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._ids = list(prompt[-_BEFORE:])  # the last tokens: no others are looked at again
        self._read = len(self._ids)
        self._longest = max(map(len, stops), default=0)
        self.text = ""

    def add(self, token: int) -> tuple[str, bool]:
        """What `token` adds to the text, and whether that completed a stop; what lies behind the stop is cut off."""
        self._ids.append(token)
        return self._grown(self._added(whole=False))

    def rest(self) -> str:
        """What was held back, at the end: the bytes of a character that nobody completed."""
        return self._grown(self._added(whole=True))[0]

    def _grown(self, added: str) -> tuple[str, bool]:
        before = len(self.text)
        self.text += added
        # Only what is new can complete a stop, and only a stop's length before it can have begun one.
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
