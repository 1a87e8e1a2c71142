"""Continuous batching: queued prompts are encoded, assigned a slot in the KV cache, and evicted when finished."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from inference.engines import LEFT, Generated, Prompt
from inference.engines.cuda import Graphs
from inference.engines.decoder import Decoder, longest
from inference.engines.encoder import Encoder
from inference.engines.search import Choice, Search, most_new_tokens

# A graph is recorded for each size, so sizes are rounded up to these.
_KEY_STEP, _SOURCE_STEP = 32, 64
# The number of steps for which a table that is more than half full admits no prompt: encoding several together costs half.
_PATIENCE = 4


class PrefillQueue:
    """Prefill queue: prompts that wait for a slot, encoded in packed batches on demand."""

    def __init__(self, encoder: Encoder, prompts: Mapping[int, Prompt], batch_tokens: int) -> None:
        self._encoder, self._prompts, self._batch_tokens = encoder, prompts, batch_tokens
        self._waiting: deque[int] = deque()
        self._encoded: deque[tuple[int, Tensor, float]] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._encoded)

    def add(self, indices: Sequence[int]) -> None:
        # Longest first: neighbouring slots have similar lengths, and a lack of memory shows in the first batch.
        self._waiting += sorted(indices, key=lambda index: -len(self._prompts[index].tokens))

    def next(self) -> tuple[int, Tensor, float] | None:
        """Return the next prompt's index, its encoder output, and the time at which its batch began; None if empty."""
        if not self._encoded and self._waiting:
            batch = [self._waiting.popleft()]
            tokens = len(self._prompts[batch[0]].tokens)
            while self._waiting:
                tokens += len(self._prompts[self._waiting[0]].tokens)
                if tokens > self._batch_tokens:
                    break
                batch.append(self._waiting.popleft())
            started = time.perf_counter()
            outputs = self._encoder.encode([self._prompts[index].tokens for index in batch])
            self._encoded += [(index, output, started) for index, output in zip(batch, outputs, strict=True)]
        return self._encoded.popleft() if self._encoded else None


@dataclass(slots=True)
class _Row:
    """The sequence in a slot."""

    index: int
    length: int
    limit: int
    started: float
    made: int = 0
    over: bool = False


class Scheduler:
    """Scheduler of the slots; those in use are contiguous, from slot 0."""

    def __init__(
        self,
        decoder: Decoder,
        search: Search,
        prompts: Mapping[int, Prompt],
        queue: PrefillQueue,
        graphs: Graphs | None,
        most_slots: int,
        *,
        ahead: bool = False,
    ) -> None:
        """Make a scheduler; with `ahead`, the device computes the next step while the tokens of the last one are read.

        A sequence that has finished by then gets one more token, which is discarded.
        """
        self._decoder, self._search, self._prompts, self._queue = decoder, search, prompts, queue
        self._graphs, self._most, self._ahead = graphs, most_slots, ahead
        self._step: Callable[[int, int, int], Tensor] = graphs or decoder.step
        self._rows: list[_Row] = []
        self._unread: deque[tuple[Choice, list[_Row]]] = deque()
        self._shut = 0  # steps since the last admission

    def fill(self, joining: Callable[[int], Sequence[int]]) -> bool:
        """Fill free slots with queued prompts, or else compact the slots; return True if any is in use."""
        free = [slot for slot, row in enumerate(self._rows) if row.over]
        self._shut += 1
        used = len(self._rows) - len(free) + len(self._queue)
        room = self._most - used
        opens = self._shut >= _PATIENCE or room >= self._most / 2
        if room > 0 and opens and (joined := joining(room)):
            self._shut = 0
            self._queue.add(joined)
            self._make_room(used + len(joined), joined)
        while free and self._admit(free[0]):
            free.pop(0)
        while not free and len(self._rows) < self._decoder.slots and self._admit(len(self._rows)):
            pass
        for slot in reversed(free):
            last = len(self._rows) - 1
            if slot != last:
                self._decoder.move(last, slot)
                self._search.move(last, slot)
                self._rows[slot] = self._rows[last]
            self._rows.pop()
        return bool(self._rows)

    def _make_room(self, used: int, joined: Sequence[int]) -> None:
        """Enlarge the cache for all joined sequences; grow geometrically to amortize reallocation."""
        decoder = self._decoder
        slots = min(self._most, max(used, 2 * decoder.slots)) if used > decoder.slots else decoder.slots
        reach = max(most_new_tokens(self._prompts[index].settings) for index in joined)
        source = max(len(self._prompts[index].tokens) for index in joined)
        self.enlarge(slots, reach, source)

    def enlarge(self, slots: int, reach: int, source: int) -> None:
        """Enlarge the cache to at least these sizes."""
        decoder, size = self._decoder, (self._decoder.slots, self._decoder.reach, self._decoder.longest_source)
        if reach > decoder.reach:
            reach = longest([reach], _KEY_STEP, reach + _KEY_STEP)
        if source > decoder.longest_source and self._graphs:
            source = longest([source], _SOURCE_STEP, source + _SOURCE_STEP)
        decoder.enlarge(slots, reach, source)
        if size == (decoder.slots, decoder.reach, decoder.longest_source):
            return
        self._search.enlarge(decoder.slots, decoder.reach)
        if self._graphs is not None:
            # Recorded graphs would read the former tables.
            self._graphs.forget()

    def step(self) -> Iterator[tuple[int, Generated]]:
        """Generate one more token for every text; yield the finished records."""
        waits = not self._ahead or self._search.reads_texts
        if waits:
            yield from self._read(0)
        # A sequence with all its tokens needs no further step, even if they are not read yet.
        grows = any(row.made < row.limit and not row.over for row in self._rows)
        if grows:
            self._grow()
        yield from self._read(1 if grows and not waits else 0)
        for row in self._rows:
            if not row.over and self._prompts[row.index].left:
                row.over = True
                yield row.index, Generated((), time.perf_counter() - row.started, LEFT)

    def _grow(self) -> None:
        rows, decoder = list(self._rows), self._decoder
        for row in rows:
            row.made += 1
        keys = longest([row.made for row in rows], _KEY_STEP if self._graphs else 1, decoder.reach)
        sources = max(row.length for row in rows)
        if self._graphs:
            sources = longest([sources], _SOURCE_STEP, decoder.longest_source)
        else:
            decoder.shrink(sources)
            sources = decoder.longest_source
        choice = self._search.choose(self._step(len(rows), keys, sources))
        decoder.advance(choice.tokens, choice.parents)
        self._unread.append((choice, rows))

    def _read(self, unread: int) -> Iterator[tuple[int, Generated]]:
        """Read results of steps until at most `unread` remain; yield the finished sequences."""
        while len(self._unread) > unread:
            choice, rows = self._unread.popleft()
            for slot, sequences in choice.done().items():
                row = rows[slot]
                if not row.over:
                    row.over = True
                    yield row.index, Generated(sequences, time.perf_counter() - row.started)

    def _admit(self, slot: int) -> bool:
        found = self._queue.next()
        if found is None:
            return False
        index, output, started = found
        if output.shape[0] > self._decoder.longest_source:
            # The table was shrunk while this prompt waited.
            self.enlarge(0, 0, output.shape[0])
        prompt = self._prompts[index]
        self._decoder.admit(slot, output)
        self._search.begin(slot, prompt)
        self._rows[slot : slot + 1] = [_Row(index, output.shape[0], most_new_tokens(prompt.settings), started)]
        return True
