"""CTranslate2 as an engine: greedy search of encoder-decoder models, in float32, int8 or 16 bits.

It is used only if the environment selects it (`INFERENCE_ENGINE=ctranslate2`). At start the weights are converted from the
approved folder, which is only read, into a directory of this process. For features that CTranslate2 lacks (sampling by each
record's own seed, requests that join between steps, beams that end as in `generate`) the fallback engine is used.

Source: https://opennmt.net/CTranslate2/python/ctranslate2.Translator.html
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from inference.engines import LEFT, Arrivals, Description, Generated, Prompt, TextEngine
from inference.engines.search import Rules, most_new_tokens
from inference.records.parameters import Generation

NAME = "ctranslate2"
# Padding included, in one forward pass; CTranslate2 sorts by length within a call.
BATCH_TOKENS = 2_048
# Prompts of one call: results come once a call has ended.
CALL_PROMPTS = 512


class CTranslate2Engine:
    """Text generation by CTranslate2, and by `rest` for prompts that it can't answer.

    Args:
        translator: a `ctranslate2.Translator`.
        words: the vocabulary, by token id.
        rules: the model's generation settings that apply to every text.
        compute_type: the precision that the translator computes in.
        rest: the engine for all other prompts.
    """

    joins = False

    def __init__(
        self, translator: Any, words: Sequence[str], rules: Rules, compute_type: str, rest: TextEngine
    ) -> None:
        self._translator, self._words, self._rules, self._rest = translator, words, rules, rest
        self._places = {word: place for place, word in enumerate(words)}
        self._compute_type = compute_type
        self._by_own = self._by_rest = 0

    @property
    def description(self) -> Description:
        """Engine, device and precision; names both engines if the fallback answered some of the prompts."""
        own = Description(NAME, self._translator.device, self._compute_type)
        if not self._by_rest:
            return own
        rest = self._rest.description
        if not self._by_own:
            return rest
        dtype = own.dtype if own.dtype == rest.dtype else f"{own.dtype}+{rest.dtype}"
        return Description(f"{NAME}+{rest.name}", own.device, dtype)

    def does(self, prompt: Prompt) -> bool:
        """Return True if CTranslate2 answers `prompt`, False if the fallback engine does."""
        # Its beams end by another rule than `generate`: of 14 texts of a small T5, 7 to 11 were the same.
        return not prompt.settings.do_sample and prompt.settings.num_beams == 1 and bool(prompt.tokens)

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Yield each prompt's index and result; no prompt can join a call, so `arrivals` is not used."""
        groups: dict[Generation, list[int]] = {}
        others: list[int] = []
        for index, prompt in enumerate(prompts):
            if self.does(prompt):
                groups.setdefault(_shared(prompt.settings), []).append(index)
            else:
                others.append(index)
        for settings, group in groups.items():
            group.sort(key=lambda index: -len(prompts[index].tokens))
            for start in range(0, len(group), CALL_PROMPTS):
                yield from self._translate(prompts, group[start : start + CALL_PROMPTS], settings)
        self._by_rest += len(others)
        for place, result in self._rest.generate([prompts[index] for index in others]):
            yield others[place], result

    def _translate(
        self, prompts: Sequence[Prompt], indices: Sequence[int], settings: Generation
    ) -> Iterator[tuple[int, Generated]]:
        started = time.perf_counter()
        gone = [index for index in indices if prompts[index].left]
        yield from ((index, Generated((), 0.0, LEFT)) for index in gone)
        asked = [index for index in indices if index not in set(gone)]
        if not asked:
            return
        rules, most = self._rules, most_new_tokens(settings)
        # The end that is forced at the last place is no token of the text.
        most -= bool(rules.forced_last)
        first = [] if rules.forced_first is None else [self._words[rules.forced_first]]
        found = self._translator.translate_batch(
            [[self._words[token] for token in prompts[index].tokens] for index in asked],
            target_prefix=[first for _ in asked] if first else None,
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
            beam_size=1,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            max_decoding_length=most - len(first),
            min_decoding_length=max(0, rules.least_new_tokens - len(first)),
            max_input_length=0,
            end_token=[self._words[end] for end in rules.ends],
        )
        seconds = time.perf_counter() - started
        self._by_own += len(asked)
        for index, one in zip(asked, found, strict=True):
            yield index, Generated((tuple(self._places[word] for word in one.hypotheses[0]),), seconds)


def _shared(settings: Generation) -> Generation:
    """Return the settings that prompts of one call share, without those that greedy and beam search ignore."""
    return replace(settings, seed=None, temperature=1.0, top_k=50, top_p=1.0)
