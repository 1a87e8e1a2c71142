"""CTranslate2 as an engine: greedy search of encoder-decoder models, in float32, int8 or 16 bits.

It is taken where the environment asks for it (`INFERENCE_ENGINE=ctranslate2`), never by itself. The weights are converted at
start from the approved folder into a directory of this process's own; the folder itself is only read. What CTranslate2
lacks (sampling by a seed of each record's own, a request that joins between steps, beams that end as `generate` ends them)
is left to the engine behind it.

Source: https://opennmt.net/CTranslate2/python/ctranslate2.Translator.html
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from inference.engines import LEFT, Arrivals, Description, Generated, Prompt, TextEngine
from inference.engines.encoder_decoder import text_engine
from inference.engines.search import Rules, most_new_tokens
from inference.errors import ModelBroken
from inference.models.loading import INFERENCE_DTYPE, INFERENCE_ENGINE, Loaded
from inference.records.parameters import Generation
from promotion.errors import Invalid

NAME = "ctranslate2"
# Padding included, in one forward pass; CTranslate2 sorts by length within a call.
BATCH_TOKENS = 2_048
# Prompts of one call: results come once a call has ended.
CALL_PROMPTS = 512
COMPUTE_TYPES = ("float32", "int8", "bfloat16", "float16")

log = logging.getLogger("inference")


class CTranslate2Engine:
    """Text generation by CTranslate2, and by `rest` for prompts that it can't answer.

    Args:
        translator: a `ctranslate2.Translator`.
        words: the vocabulary, by token id.
        rules: what the model's generation settings ask of every text.
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
        """Engine, device and precision; names both engines where some of the work was left to the other one."""
        own = Description(NAME, self._translator.device, self._compute_type)
        if not self._by_rest:
            return own
        rest = self._rest.description
        if not self._by_own:
            return rest
        dtype = own.dtype if own.dtype == rest.dtype else f"{own.dtype}+{rest.dtype}"
        return Description(f"{NAME}+{rest.name}", own.device, dtype)

    def does(self, prompt: Prompt) -> bool:
        """Whether CTranslate2, rather than the engine behind it, answers `prompt`."""
        # Its beams end by another rule than `generate`: of 14 texts of a small T5, 7 to 11 were the same.
        return not prompt.settings.do_sample and prompt.settings.num_beams == 1 and bool(prompt.tokens)

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Each prompt's index and result; nobody can join a call, so `arrivals` is not asked."""
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


def ctranslate2_engine(loaded: Loaded, compute_type: str) -> TextEngine:
    """The model of `loaded`, converted for CTranslate2, with our own engine behind it.

    Args:
        loaded: a verified and loaded text-to-text model.
        compute_type: one of COMPUTE_TYPES; int8 only where it was asked for.

    Raises:
        Invalid: CTranslate2 is not installed, the processor has no instructions for `compute_type`, or the model's generation
            settings ask for more than CTranslate2 does, or its converter does not know the model.
        ModelBroken: the converted model has no vocabulary.
    """
    try:
        import ctranslate2
    except ImportError:
        raise Invalid(
            INFERENCE_ENGINE, f"is {NAME}, which is not installed: pip install 'model-promotion[ctranslate2]'."
        ) from None
    device = "cuda" if loaded.model.device.type == "cuda" else "cpu"
    known = ctranslate2.get_supported_compute_types(device)
    if compute_type not in known:
        offered = ", ".join(kind for kind in COMPUTE_TYPES if kind in known)
        raise Invalid(
            INFERENCE_DTYPE, f"is {compute_type}, which this {device} has no instructions for; take {offered}."
        )
    start = getattr(loaded.model.config, "decoder_start_token_id", None)
    rules = Rules.of_model(loaded.model.generation_config, start) if start is not None else None
    if rules is None:
        raise Invalid(INFERENCE_ENGINE, f"is {NAME}, which can't do what generation_config.json asks for.")
    target = Path(tempfile.mkdtemp(prefix="ctranslate2-"))
    began = time.perf_counter()
    try:
        converter = ctranslate2.converters.TransformersConverter(str(loaded.folder), low_cpu_mem_usage=True)
        converter.convert(str(target), quantization=compute_type, force=True)
    # AttributeError: a converter that looks for what this release of transformers no longer writes, as for BART.
    except (ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise Invalid(INFERENCE_ENGINE, f"is {NAME}, whose converter does not know this model: {error}") from error
    translator = ctranslate2.Translator(
        str(target), device=device, compute_type=compute_type, inter_threads=1, intra_threads=torch.get_num_threads()
    )
    engine = CTranslate2Engine(translator, _vocabulary(target), rules, compute_type, text_engine(loaded.model))
    # The weights are in memory now; the directory goes with the engine.
    weakref.finalize(engine, shutil.rmtree, target, ignore_errors=True)
    log.info("converted %s for CTranslate2, %s, in %.1f s", loaded.folder, compute_type, time.perf_counter() - began)
    return engine


def _vocabulary(folder: Path) -> list[str]:
    """The target vocabulary of a converted model, by token id."""
    for name in ("shared_vocabulary.json", "target_vocabulary.json"):
        if (folder / name).is_file():
            words: list[str] = json.loads((folder / name).read_text(encoding="utf-8"))
            return words
    raise ModelBroken("CTranslate2 wrote no vocabulary.")


def _shared(settings: Generation) -> Generation:
    """What prompts of one call share: nothing that greedy search and beams ignore."""
    return replace(settings, seed=None, temperature=1.0, top_k=50, top_p=1.0)
