"""Token ids of texts, truncated to the model's maximum."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

# The maximum length if neither tokenizer nor configuration has one.
_LONGEST_INPUT = 1_024
# Far more characters than a token usually has: a longer text is tokenized only up to this many for each position.
_CHARACTERS_PER_TOKEN = 16
_CUT_TOKENS = 64
# Characters of an average token, a low estimate.
_CHARACTERS_OF_A_WORD_PIECE = 3
# JSON can contain lone surrogates, which a tokenizer can't read.
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


_POSITIONS = ("max_position_embeddings", "n_positions", "max_encoder_position_embeddings")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tokenized input; `truncated` if it was longer than the model's maximum."""

    tokens: tuple[int, ...]
    types: tuple[int, ...] | None
    truncated: bool


class Encoder:
    """A tokenizer with a model's maximum length; thread-safe."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self._tokenizer = tokenizer
        # A call sets the tokenizer's truncation, so a call on another thread would return another length.
        self._lock = threading.Lock()
        named = [getattr(model.config, name, None) for name in _POSITIONS]
        limits = [tokenizer.model_max_length, *named, _positions_behind_padding(model)]
        self.longest = min(
            (limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**6), default=_LONGEST_INPUT
        )

    def beside(self) -> Encoder:
        """Return a copy with its own tokenizer for another thread, so that neither waits for the other."""
        other = copy.copy(self)
        with self._lock:
            other._tokenizer = copy.deepcopy(self._tokenizer)
        other._lock = threading.Lock()
        return other

    def encode(self, texts: Sequence[str], language: str | None = None) -> list[Encoded]:
        """Tokenize each text with special tokens, for the source `language` or, without one, the tokenizer's own."""
        with self._lock, self._source(language):
            return self._encoded(self._tokenizer, [(self._near(text),) for text in texts], truncation=True)

    def encode_pairs(self, premises: Sequence[str], hypotheses: Sequence[str]) -> list[Encoded]:
        """Tokenize each premise with its hypothesis; only the premise is truncated."""
        with self._lock:
            near = {premise: self._near(premise) for premise in set(premises)}
            pairs = [(near[premise], hypothesis) for premise, hypothesis in zip(premises, hypotheses, strict=True)]
            return self._encoded(self._tokenizer, pairs, truncation="only_first")

    def about(self, text: str) -> int:
        """Estimate the tokens of `text` without tokenizing it, at most the model's maximum."""
        return min(self.longest, len(text) // _CHARACTERS_OF_A_WORD_PIECE + 2)

    def fits_as_hypothesis(self, text: str) -> bool:
        """Return True if a hypothesis leaves room for its premise."""
        with self._lock:
            return len(self._tokenizer(self._near(text))["input_ids"]) < self.longest - 4

    def _encoded(self, tokenizer: Any, inputs: Sequence[tuple[str, ...]], truncation: bool | str) -> list[Encoded]:
        columns = [list(column) for column in zip(*inputs, strict=True)]
        whole = tokenizer(*columns)
        found: list[Encoded] = []
        for place, tokens in enumerate(whole["input_ids"]):
            truncated = len(tokens) > self.longest
            source, at = whole, place
            if truncated:
                one = [[column[place]] for column in columns]
                source, at = tokenizer(*one, truncation=truncation, max_length=self.longest), 0
            types = source["token_type_ids"][at] if "token_type_ids" in tokenizer.model_input_names else None
            found.append(Encoded(tuple(source["input_ids"][at]), types and tuple(types), truncated))
        return found

    @contextmanager
    def _source(self, language: str | None) -> Iterator[None]:
        if language is None:
            yield
            return
        before = self._tokenizer.src_lang
        self._tokenizer.src_lang = language
        try:
            yield
        finally:
            self._tokenizer.src_lang = before

    def _near(self, text: str) -> str:
        """Return the part of a long text that can be used, so that a megabyte isn't tokenized for each label."""
        text = _HALF_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)
        if len(text) <= self.longest * _CHARACTERS_PER_TOKEN or not self._tokenizer.is_fast:
            return text
        # Some tokens more than the maximum, so that the text still counts as truncated and no kept token changes.
        most, width = self.longest + _CUT_TOKENS, self.longest * _CHARACTERS_PER_TOKEN
        while True:
            offsets = self._tokenizer(
                text[:width], truncation=True, max_length=most, add_special_tokens=False, return_offsets_mapping=True
            )["offset_mapping"]
            if len(offsets) >= most or width >= len(text):
                return text[: offsets[-1][1]] if offsets else text
            width *= 2


def _positions_behind_padding(model: Any) -> int | None:
    """Return the number of usable positions if they begin after the padding id (RoBERTa, XLM-R, MPNet), else None."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings - module.padding_idx - 1)
    return None


def decoder_reach(model: Any) -> int | None:
    """Return the decoder's maximum length from its position table; None if it has none."""
    for name, module in model.get_decoder().named_modules():
        if name.rpartition(".")[2] in ("embed_positions", "position_embeddings") and isinstance(module, nn.Embedding):
            unused = module.padding_idx + 1 if module.padding_idx is not None else getattr(module, "offset", 0)
            return int(module.num_embeddings - unused)
    return None
