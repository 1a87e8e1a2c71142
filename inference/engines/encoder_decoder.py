"""The engine for T5 and BART with continuous batching: a queue, packed encoder batches, and a table of decoder slots.

A finished sequence is evicted at once and the next one takes its slot, so that no step computes for finished texts; in real
time, arriving prompts join at the next step. `generate` is the fallback for features that the engine lacks, and its
reference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from inference.engines import Arrivals, Description, Generated, Prompt, TextEngine
from inference.engines.batching import out_of_memory
from inference.engines.beams import Beams
from inference.engines.cuda import Graphs, cuda_encoder, free_bytes
from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder
from inference.engines.generate import GenerateEngine
from inference.engines.scheduler import PrefillQueue, Scheduler
from inference.engines.search import Rules, Search, TokenSearch, most_new_tokens
from inference.engines.start_check import checked
from inference.engines.weight_reading import read_weights, reader_of

log = logging.getLogger("inference")

NAME = "encoder-decoder"
# Beams attend to each other's keys behind a mask; with many beams that costs more than copying the cache.
_MOST_BEAMS = 16
# A GPU reads unaligned rows more slowly.
_ALIGNED = 16
# The longest input in tokens for which the table has all rows; for longer ones a CPU's table has half as many.
_SHORT = 512
# If memory runs out with so few rows, `generate` takes over, which can work with one row.
_FEWEST_ROWS = 16


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Performance settings of the engine; only `dtype` changes the generated text."""

    encoder_tokens: int  # in one packed batch
    rows: int  # in one step: slots times texts in each
    beam_rows: int | None = None  # the same for beams, which share their slot's input; None: as many
    ahead: bool = False  # a step is under way before the tokens of the last one are read
    table_bytes: int | None = None  # of the decoder's slots; None: half of a GPU's free memory, and on a CPU any number
    dtype: torch.dtype | None = None  # None: the model's own

    @classmethod
    def of(cls, device: torch.device) -> EngineConfig:
        """Choose the settings for a device: small batches stay in a CPU's cache, large ones fill a GPU."""
        return cls(65_536, 2_048, ahead=True) if device.type == "cuda" else cls(1_024, 32, 128)

    def halved(self) -> EngineConfig | None:
        """Return the settings for half the memory; None if there are too few rows to halve."""
        if self.rows <= _FEWEST_ROWS:
            return None
        beams = None if self.beam_rows is None else max(1, self.beam_rows // 2)
        return replace(self, encoder_tokens=max(1, self.encoder_tokens // 2), rows=self.rows // 2, beam_rows=beams)

    def rows_for(self, longest: int, *, beams: bool) -> int:
        """Return the sequences per step for inputs of at most `longest` tokens; half as many take as much memory."""
        rows = (self.beam_rows if beams else None) or self.rows
        return rows if longest <= _SHORT else max(1, rows // 2)


class EncoderDecoderEngine:
    """Text generation with T5 and BART models."""

    joins = True

    def __init__(
        self,
        model: PreTrainedModel,
        rules: Rules,
        *,
        config: EngineConfig | None = None,
        graphs: Callable[[Decoder], Graphs] | None = None,
    ) -> None:
        """Make the engine of a model.

        Args:
            model: A T5 or BART model.
            rules: The rules from its generation settings.
            config: Performance settings; None chooses them for the model's device.
            graphs: Makes a decoder's recorded steps; None: CUDA graphs on a GPU, and on a CPU no step is recorded.
        """
        self._config = config or EngineConfig.of(model.device)
        self._weights = read_weights(model, dtype=self._config.dtype)
        self.rules = rules
        on_cuda = model.device.type == "cuda"
        self._encoder = cuda_encoder(self._weights) if on_cuda else Encoder(self._weights)
        self._graphs = graphs if graphs is not None or not on_cuda else Graphs
        # Half of a GPU's free memory: the other half is for the encoder and for the activations of a step.
        self._table_bytes = self._config.table_bytes or (free_bytes(model.device) // 2 if on_cuda else None)
        self._plain = GenerateEngine(model)
        self._device, self._dtype = str(model.device), str(self._weights.dtype).removeprefix("torch.")
        self._by_plain = self._by_own = 0
        # On a GPU the last decoder with its recordings; None while it is in use.
        self._kept: tuple[Decoder, Graphs] | None = None

    @property
    def description(self) -> Description:
        """Description that names `generate` too, if it answered some of the prompts."""
        name = NAME if self._by_own or not self._by_plain else self._plain.description.name
        if self._by_own and self._by_plain:
            name = f"{NAME}+{self._plain.description.name}"
        return Description(name, self._device, self._dtype)

    def does(self, prompt: Prompt) -> bool:
        """Return True if this engine answers `prompt`, False if `generate` does."""
        settings, weights = prompt.settings, self._weights
        if settings.forced_bos_token_id not in (None, self.rules.forced_first):
            return False
        if settings.num_beams > 1 and (settings.do_sample or settings.num_beams > _MOST_BEAMS):
            return False
        source, target = weights.longest_source or len(prompt.tokens), weights.longest_target
        fits = target is None or most_new_tokens(settings) <= target
        return 0 < len(prompt.tokens) <= source and fits

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Yield each prompt's index and result when it is ready."""
        work = _Work(self.does, arrivals)
        work.take(prompts)
        while work.kinds:
            kind = next(iter(work.kinds))
            try:
                for index, result in self._run(work, kind):
                    work.open.pop(index)
                    self._by_own += 1
                    yield index, result
                continue
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Outside the except block: the traceback holds the failed run's tensors.
            self._go_on(work, kind)
        left = [work.open[index] for index in work.left]
        self._by_plain += len(left)
        for place, result in self._plain.generate(left):
            yield work.left[place], result

    def _go_on(self, work: _Work, kind: Kind) -> None:
        """Continue after memory ran out: with half as many rows, or by `generate`, which halves its batches until they fit."""
        self._kept = None
        torch.cuda.empty_cache()
        fewer = self._config.halved()
        work.again(kind, by_plain=fewer is None)
        if fewer is not None:
            log.warning("Memory ran out; the engine goes on with %d rows a step.", fewer.rows)
            self._config = fewer

    def _run(self, work: _Work, kind: Kind) -> Iterator[tuple[int, Generated]]:
        """Generate for prompts of one kind of search and `width` sequences each, until none remains and none joins."""
        (beams, width), prompts, config = kind, work.open, self._config
        indices = work.kinds.pop(kind)
        reach = max(most_new_tokens(prompts[index].settings) for index in indices)
        source = max(len(prompts[index].tokens) for index in indices)
        # The input's length is ignored if a longer one may join later, or if the table is limited by bytes instead.
        counted = 1 if work.arrivals is not None or self._table_bytes is not None else source
        most = max(1, config.rows_for(counted, beams=beams) // width)
        if self._table_bytes is not None:
            slot = Decoder.bytes_a_slot(
                self._weights, width, longest_source=source, reach=reach, absorbed=self._graphs is not None
            )
            most = max(1, min(most, self._table_bytes // slot))
        slots = min(len(indices), most)
        decoder, graphs = self._decoder(slots, width, source, reach)
        search: Search = (
            Beams(self.rules, decoder.slots, width, decoder.reach, self._weights.device)
            if beams
            else TokenSearch(self.rules, decoder.slots, width)
        )
        queue = PrefillQueue(self._encoder, prompts, config.encoder_tokens)
        queue.add(indices)
        scheduler = Scheduler(decoder, search, prompts, queue, graphs, most, ahead=config.ahead)
        scheduler.enlarge(slots, reach, source)
        try:
            while scheduler.fill(lambda room: work.joining(kind, room)):
                yield from scheduler.step()
        finally:
            if graphs is not None:
                self._kept = decoder, graphs

    def _decoder(self, slots: int, width: int, source: int, reach: int) -> tuple[Decoder, Graphs | None]:
        """Return the kept decoder if it has slots of this width, or else a new one of these sizes."""
        kept, self._kept = self._kept, None
        if kept is not None and kept[0].width == width:
            return kept
        del kept  # its memory first
        if self._graphs is not None:
            source, reach = (-(-size // _ALIGNED) * _ALIGNED for size in (source, reach))
        decoder = Decoder(
            self._weights,
            slots,
            width,
            longest_source=source,
            reach=reach,
            absorbed=self._graphs is not None,
        )
        return decoder, self._graphs(decoder) if self._graphs is not None else None


# True for beam search, and the number of texts generated in parallel.
Kind = tuple[bool, int]


class _Work:
    """Queue of prompts by kind of search, with the admission of new ones."""

    def __init__(self, does: Callable[[Prompt], bool], arrivals: Arrivals | None) -> None:
        self._does, self.arrivals = does, arrivals
        self.kinds: dict[Kind, list[int]] = {}
        self.left: list[int] = []  # to `generate`
        self.open: dict[int, Prompt] = {}
        self._count = 0

    def take(self, prompts: Sequence[Prompt]) -> None:
        for prompt in prompts:
            index, self._count = self._count, self._count + 1
            self.open[index] = prompt
            beams = prompt.settings.num_beams > 1
            width = prompt.settings.num_beams if beams else prompt.settings.num_return_sequences
            (self.kinds.setdefault((beams, width), []) if self._does(prompt) else self.left).append(index)

    def again(self, kind: Kind, *, by_plain: bool) -> None:
        """Put the prompts in progress back into the queue."""
        waiting = {index for indices in (*self.kinds.values(), self.left) for index in indices}
        broken = sorted(self.open.keys() - waiting)
        if by_plain:
            self.left += broken
        elif broken:
            self.kinds[kind] = broken + self.kinds.pop(kind, [])

    def joining(self, kind: Kind, room: int) -> list[int]:
        """Admit prompts of this kind of search; none while a prompt of another kind waits, to avoid starvation."""
        if self.arrivals is None or self.kinds or self.left:
            return []
        self.take(self.arrivals(room))
        return self.kinds.pop(kind, [])


def text_engine(model: PreTrainedModel) -> TextEngine:
    """Return the fastest engine that supports `model` and its generation settings."""
    start = getattr(model.config, "decoder_start_token_id", None)
    rules = Rules.of_model(model.generation_config, start) if start is not None else None
    if rules is None or reader_of(model) is None:
        return GenerateEngine(model)
    if model.device.type == "cuda":
        vocabulary = model.get_input_embeddings().num_embeddings
        return checked(lambda: EncoderDecoderEngine(model, rules), GenerateEngine(model), vocabulary)
    return EncoderDecoderEngine(model, rules)
