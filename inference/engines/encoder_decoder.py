"""The engine for T5 and BART: texts wait in a queue, are encoded in small packed batches, and grow in a table of slots.

A text that has ended leaves at once and the next one takes its slot, so that no step computes for what is over. What
the engine does not do, `generate` does: the plain path stays its reference and its fallback.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.batching import out_of_memory
from inference.engines import LEFT, Description, Generated, Prompt, TextEngine
from inference.engines.beams import Beams
from inference.engines.cuda import FlexAttention, Graphs
from inference.engines.decoder import Decoder, longest
from inference.engines.encoder import Encoder
from inference.engines.families import read_weights, reader_of
from inference.engines.generate import GenerateEngine
from inference.engines.search import Rules, Search, Sequences, Streams, most_new_tokens

NAME = "encoder-decoder"
# Beams look at each other's keys, hidden: many of them cost more than copying would.
_MOST_BEAMS = 16
# A graph is recorded for each size, so sizes are rounded up to these.
_KEY_STEP, _SOURCE_STEP = 32, 128


@dataclass(frozen=True, slots=True)
class Levers:
    """What makes the engine fast. None changes what is generated, apart from `dtype`."""

    encoder_tokens: int  # in one packed batch
    rows: int  # in one step: slots times texts in each
    beam_rows: int | None = None  # the same of beams, which share their slot's input; None: as many
    absorbed: bool | None = None  # None: where it pays
    fused: bool = True
    refill: bool = True
    by_length: bool = True
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, device: torch.device) -> Levers:
        """On a CPU small batches stay in the cache; a GPU wants to be filled."""
        return cls(65_536, 512, fused=False) if device.type == "cuda" else cls(1_024, 16, 64)


class EncoderDecoderEngine:
    """Text generation with T5 and BART models."""

    def __init__(self, model: PreTrainedModel, rules: Rules, *, levers: Levers | None = None) -> None:
        self._levers = levers or Levers.of(model.device)
        self._weights = read_weights(model, dtype=self._levers.dtype, fused=self._levers.fused)
        self.rules = rules
        on_cuda = model.device.type == "cuda"
        self._encoder = Encoder(self._weights, FlexAttention.compiled() if on_cuda else None)
        self._on_cuda = on_cuda
        self._plain = GenerateEngine(model)
        self._device, self._dtype = str(model.device), str(self._weights.dtype).removeprefix("torch.")
        self._by_plain = self._by_own = 0

    @property
    def description(self) -> Description:
        """Says also when some of the work was left to `generate`."""
        name = NAME if self._by_own or not self._by_plain else self._plain.description.name
        if self._by_own and self._by_plain:
            name = f"{NAME}+{self._plain.description.name}"
        return Description(name, self._device, self._dtype)

    def does(self, prompt: Prompt) -> bool:
        """Whether this engine, rather than `generate`, answers `prompt`."""
        settings, weights = prompt.settings, self._weights
        if settings.num_beams > 1 and (settings.do_sample or settings.num_beams > _MOST_BEAMS):
            return False
        source, target = weights.longest_source or len(prompt.tokens), weights.longest_target
        fits = target is None or most_new_tokens(settings) <= target
        return 0 < len(prompt.tokens) <= source and fits

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Generated]]:
        """Each prompt's index and result, as they are ready."""
        runs: dict[tuple[bool, int], list[int]] = {}
        left: list[int] = []
        for index, prompt in enumerate(prompts):
            beams = prompt.settings.num_beams > 1
            width = prompt.settings.num_beams if beams else prompt.settings.num_return_sequences
            (runs.setdefault((beams, width), []) if self.does(prompt) else left).append(index)
        for (beams, width), indices in runs.items():
            waiting = set(indices)
            try:
                for index, result in self._run(prompts, indices, width, beams):
                    waiting.discard(index)
                    self._by_own += 1
                    yield index, result
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Memory ran out: the plain path takes what is left, in batches that it halves until they fit.
            left += sorted(waiting)
        self._by_plain += len(left)
        for place, result in self._plain.generate([prompts[index] for index in left]):
            yield left[place], result

    def _run(
        self, prompts: Sequence[Prompt], indices: Sequence[int], width: int, beams: bool
    ) -> Iterator[tuple[int, Generated]]:
        """Prompts that are searched alike and need `width` texts each."""
        # Longest first: neighbours in the table are of like length, and lack of memory shows at once.
        order = sorted(indices, key=lambda index: -len(prompts[index].tokens)) if self._levers.by_length else indices
        rows = (self._levers.beam_rows or self._levers.rows) if beams else self._levers.rows
        slots = max(1, min(len(order), rows // width))
        reach = max(most_new_tokens(prompts[index].settings) for index in order)
        decoder = Decoder(
            self._weights,
            slots,
            width,
            longest_source=max(len(prompts[index].tokens) for index in order),
            reach=reach,
            # A CPU computes a product of few rows slower than it reads keys and values of each layer's own.
            absorbed=self._on_cuda if self._levers.absorbed is None else self._levers.absorbed,
        )
        search: Search = (
            Beams(self.rules, slots, width, reach, self._weights.device) if beams else Streams(self.rules, slots, width)
        )
        if not self._levers.by_length:
            # A longer text may come in later.
            decoder.may_shrink = False
        table = _Table(
            decoder, search, prompts, self._encoded(prompts, order), Graphs(decoder) if self._on_cuda else None
        )
        while table.fill(whole=not self._levers.refill):
            yield from table.step()

    def _encoded(self, prompts: Sequence[Prompt], order: Sequence[int]) -> Iterator[tuple[int, Tensor, float]]:
        """Index, encoder's output and the moment at which its batch began; batches as they are asked for."""
        waiting = deque(order)
        while waiting:
            batch, tokens = [waiting.popleft()], len(prompts[order[0]].tokens)
            tokens = len(prompts[batch[0]].tokens)
            while waiting and tokens + len(prompts[waiting[0]].tokens) <= self._levers.encoder_tokens:
                tokens += len(prompts[waiting[0]].tokens)
                batch.append(waiting.popleft())
            started = time.perf_counter()
            for index, output in zip(
                batch, self._encoder.encode([prompts[index].tokens for index in batch]), strict=True
            ):
                yield index, output, started


@dataclass(slots=True)
class _Row:
    """Who is in a slot."""

    index: int
    length: int
    started: float
    made: int = 0


class _Table:
    """The slots in use stand together at the front."""

    def __init__(
        self,
        decoder: Decoder,
        search: Search,
        prompts: Sequence[Prompt],
        encoded: Iterator[tuple[int, Tensor, float]],
        graphs: Graphs | None,
    ) -> None:
        self._decoder, self._search, self._prompts, self._encoded = decoder, search, prompts, encoded
        self._step: Callable[[int, int, int], Tensor] = graphs or decoder.step
        self._recorded = graphs is not None
        self._rows: list[_Row] = []
        self._free: list[int] = []

    def fill(self, *, whole: bool) -> bool:
        """Put waiting records into free slots, or the last slots' records where none wait; whether any is in use.

        With `whole`, none comes in before all have left.
        """
        if not whole or len(self._free) == len(self._rows):
            for slot in sorted(self._free):
                if not self._admit(slot):
                    break
                self._free.remove(slot)
            while not self._free and len(self._rows) < self._decoder.slots and self._admit(len(self._rows)):
                pass
        for slot in sorted(self._free, reverse=True):
            last = len(self._rows) - 1
            if slot != last:
                self._decoder.move(last, slot)
                self._search.move(last, slot)
                self._rows[slot] = self._rows[last]
            self._rows.pop()
        self._free = []
        return bool(self._rows)

    def step(self) -> Iterator[tuple[int, Generated]]:
        """One token more for every text; yields the records that are over."""
        rows, decoder = self._rows, self._decoder
        for row in rows:
            row.made += 1
        keys = longest([row.made for row in rows], _KEY_STEP if self._recorded else 1, decoder.reach)
        sources = max(row.length for row in rows)
        if self._recorded:
            sources = longest([sources], _SOURCE_STEP, decoder.longest_source)
        else:
            decoder.shrink(sources)
            sources = decoder.longest_source
        choice = self._search.choose(self._step(len(rows), keys, sources))
        decoder.advance(choice.tokens, choice.parents)
        for slot, sequences in choice.done.items():
            self._free.append(slot)
            yield rows[slot].index, _generated(sequences, rows[slot])
        for slot, row in enumerate(rows):
            if slot not in choice.done and self._prompts[row.index].left:
                self._free.append(slot)
                yield row.index, Generated((), time.perf_counter() - row.started, LEFT)

    def _admit(self, slot: int) -> bool:
        found = next(self._encoded, None)
        if found is None:
            return False
        index, output, started = found
        self._decoder.admit(slot, output)
        self._search.begin(slot, self._prompts[index])
        row = _Row(index, output.shape[0], started)
        self._rows[slot : slot + 1] = [row]
        return True


def text_engine(model: PreTrainedModel) -> TextEngine:
    """The fastest engine that does what `model` and its generation settings ask for."""
    start = getattr(model.config, "decoder_start_token_id", None)
    rules = Rules.of_model(model.generation_config, start) if start is not None else None
    if rules is None or reader_of(model) is None:
        return GenerateEngine(model)
    return EncoderDecoderEngine(model, rules)


def _generated(sequences: Sequences, row: _Row) -> Generated:
    return Generated(sequences, time.perf_counter() - row.started)
