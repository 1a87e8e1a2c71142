"""Decoder engine with continuous batching: one token per sequence and step; finished sequences are evicted at once.

Keys and values of all rows are in one cache, padded on the left, where padding costs only memory. A failed step is retried with
each row alone, so that a text on which the model fails doesn't affect the others.
"""

from __future__ import annotations

import gc
import inspect
import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel

from inference.decoders import RequestHandle, failed
from inference.decoders.settings import Limits
from inference.decoders.words import Detokenizer, Detokenizers
from inference.engines import Description
from inference.engines.batching import out_of_memory
from inference.engines.sampling import pick, uniform_draws

NAME = "continuous"
MOST_ROWS = 256
# The most padding in a prefill pass on a CPU: a separate pass costs about as much as this many tokens.
MOST_PADDING = 32

log = logging.getLogger("inference")


@dataclass(slots=True, eq=False)
class _Row:
    """One text in progress. It can be prefilled again at any token, so a failed step costs only time."""

    handle: RequestHandle
    tokens: list[int]
    detokenizer: Detokenizer
    draws: Tensor | None  # float64, (most new tokens,)
    seen: Tensor | None  # bool, (vocabulary,): tokens that would be repetitions
    made: int = 0
    alone: bool = False


class StepEngine:
    """Generates with any decoder of transformers with full causal attention."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, limits: Limits) -> None:
        self._model, self._tokenizer, self._limits = model, tokenizer, limits
        self.detokenizers = Detokenizers(tokenizer, model.generation_config)
        takes = inspect.signature(model.forward).parameters
        self._places, self._last_only = "position_ids" in takes, "logits_to_keep" in takes
        self._waiting: deque[_Row] = deque()
        self._coming: deque[RequestHandle] = deque()
        self._lock = threading.Lock()
        self._rows: list[_Row] = []
        self._most_rows = MOST_ROWS
        self._cache: list[tuple[Tensor, Tensor]] = []  # a layer's keys and values: (rows, heads, longest, head size)
        self.description = Description(NAME, str(model.device), str(model.dtype).removeprefix("torch."))

    @property
    def alive(self) -> bool:
        return True

    def submit(self, handle: RequestHandle) -> None:
        with self._lock:
            self._coming.append(handle)

    def close(self) -> None:
        """Release nothing: the owner releases the model."""

    @torch.inference_mode()
    def step(self) -> bool:
        """Evict cancelled sequences, admit waiting ones that fit, and generate a token for each."""
        with self._lock:
            coming = list(self._coming)
            self._coming.clear()
        self._waiting.extend(self._row(handle) for handle in coming)
        if any(row.handle.left for row in self._waiting):
            self._waiting = deque(row for row in self._waiting if not row.handle.left)
        self._keep([place for place, row in enumerate(self._rows) if not row.handle.left])
        newcomers = self._newcomers()
        if newcomers:
            for rows in self._together(newcomers):
                self._begin(rows)
        elif self._rows:
            self._grow()
        return bool(self._rows or self._waiting or self._coming)

    def _row(self, handle: RequestHandle) -> _Row:
        prompt, settings = handle.prompt, handle.prompt.settings
        assert settings.max_new_tokens is not None
        draws = torch.from_numpy(uniform_draws(prompt.key, 0, settings.max_new_tokens)) if settings.do_sample else None
        seen = None
        if settings.repetition_penalty != 1:
            seen = torch.zeros(self._model.config.get_text_config().vocab_size, dtype=torch.bool)
            seen[list(prompt.tokens)] = True
            seen = seen.to(self._model.device)
        return _Row(handle, list(prompt.tokens), self.detokenizers.of(prompt), draws, seen)

    def _newcomers(self) -> list[_Row]:
        """Admit waiting requests in order of arrival, within the prefill and the total token budget."""
        found: list[_Row] = []
        longest = max((row.handle.prompt.most_tokens for row in self._rows), default=0)
        prefill = 0
        while self._waiting:
            row = self._waiting[0]
            others = len(self._rows) + len(found)
            if others >= self._most_rows or (found and (row.alone or found[0].alone)):
                break
            longest = max(longest, row.handle.prompt.most_tokens)
            prefill = max(prefill, len(row.tokens))
            if others and (others + 1) * longest > self._limits.batch_total_tokens:
                break
            if found and (len(found) + 1) * prefill > self._limits.prefill_tokens:
                break
            found.append(self._waiting.popleft())
        return found

    def _together(self, rows: list[_Row]) -> list[list[_Row]]:
        """Divide `rows` into prefill passes: on a CPU by similar length, because padding costs as much as text there."""
        if self._model.device.type != "cpu":
            return [rows]
        found: list[list[_Row]] = []
        padding = 0
        for row in sorted(rows, key=lambda row: len(row.tokens)):
            # All rows of the last pass would be padded to this row's length.
            padding += len(found[-1]) * (len(row.tokens) - len(found[-1][-1].tokens)) if found else 0
            if not found or padding > MOST_PADDING:
                found.append([])
                padding = 0
            found[-1].append(row)
        return found

    def _begin(self, rows: list[_Row]) -> None:
        """Prefill `rows`, add them to the running rows, and choose their first tokens."""
        width = max(len(row.tokens) for row in rows)
        fill = self._tokenizer.pad_token_id or 0
        tokens = torch.tensor([[fill] * (width - len(row.tokens)) + row.tokens for row in rows])
        lengths = torch.tensor([len(row.tokens) for row in rows])
        mask = torch.arange(width) >= (width - lengths).unsqueeze(1)
        try:
            scores, cache = self._forward(tokens, mask, [])
            cache = _joined(self._cache, cache)
        except Exception as error:  # noqa: BLE001 - whatever a model does to one text must not end the others
            short, why = out_of_memory(error), _why(error)
        else:
            self._cache, self._rows = cache, [*self._rows, *rows]
            for row in rows:
                row.alone = False
            self._choose(rows, scores)
            return
        # Outside the except block: the traceback holds the failed step's tensors.
        _tidy()
        if len(rows) > 1:
            self._again(rows)
        elif short and self._rows:
            # There is no memory for it beside the running rows, so it waits until one of them is evicted.
            self._most_rows = len(self._rows)
            self._waiting.appendleft(rows[0])
        else:
            rows[0].handle.emit(failed(why))

    def _grow(self) -> None:
        """Generate one more token for each row."""
        tokens = torch.tensor([[row.tokens[-1]] for row in self._rows])
        longest = self._cache[0][0].shape[2] + 1
        lengths = torch.tensor([len(row.tokens) for row in self._rows])
        mask = torch.arange(longest) >= (longest - lengths).unsqueeze(1)
        try:
            scores, self._cache = self._forward(tokens, mask, self._cache)
        except Exception as error:  # noqa: BLE001 - as above
            short, why = out_of_memory(error), _why(error)
        else:
            self._choose(self._rows, scores)
            return
        rows = self._rows
        self._rows, self._cache = [], []
        _tidy()
        if len(rows) == 1:
            rows[0].handle.emit(failed(why))
            return
        if short:
            self._most_rows = len(rows) // 2
        self._again(rows)

    def _again(self, rows: Sequence[_Row]) -> None:
        """Queue each of `rows` to be prefilled again alone, with its tokens so far: only a row that fails alone is failed."""
        for row in reversed(rows):
            row.alone = True
            self._waiting.appendleft(row)

    def _forward(
        self, tokens: Tensor, mask: Tensor, cache: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return each row's next-token scores, float32, (rows, vocabulary), and the cache with `tokens`, (rows, new), added."""
        device = self._model.device
        options: dict[str, Any] = {"logits_to_keep": 1} if self._last_only else {}
        if self._places:
            places = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
            options["position_ids"] = places[:, -tokens.shape[1] :].to(device)
        output = self._model(
            input_ids=tokens.to(device),
            attention_mask=mask.long().to(device),
            past_key_values=DynamicCache(cache) if cache else DynamicCache(),
            use_cache=True,
            **options,
        )
        layers = output.past_key_values.layers
        return output.logits[:, -1].float(), [(layer.keys, layer.values) for layer in layers]

    def _choose(self, rows: Sequence[_Row], scores: Tensor) -> None:
        """Emit each row's next token to its client, and evict finished rows."""
        for place, row in enumerate(rows):
            if row.seen is not None:
                penalty, here = row.handle.prompt.settings.repetition_penalty, scores[place]
                scores[place] = torch.where(row.seen, torch.where(here > 0, here / penalty, here * penalty), here)
        chosen = scores.argmax(dim=-1)
        drawn = [(place, row.draws) for place, row in enumerate(rows) if row.draws is not None]
        if drawn:
            places = [place for place, _ in drawn]
            settings = [rows[place].handle.prompt.settings for place in places]
            chosen[places] = pick(
                scores[places],
                torch.stack([draws[rows[place].made] for place, draws in drawn]),
                temperature=[one.temperature for one in settings],
                top_k=[one.top_k for one in settings],
                top_p=[one.top_p for one in settings],
            )
        logprobs = scores.log_softmax(dim=-1).gather(1, chosen.unsqueeze(1)).squeeze(1)
        ended = {
            row
            for row, token, logprob in zip(rows, chosen.tolist(), logprobs.tolist(), strict=True)
            if self._emitted(row, token, logprob)
        }
        self._keep([place for place, row in enumerate(self._rows) if row not in ended])

    def _emitted(self, row: _Row, token: int, logprob: float) -> bool:
        """Add `token` to `row` and send it to the row's watcher; return True if it was the last."""
        row.tokens.append(token)
        row.made += 1
        if row.seen is not None:
            row.seen[token] = True
        event = row.detokenizer.event(token, logprob)
        over = row.made == row.handle.prompt.settings.max_new_tokens
        finish = event.finish or ("length" if over else None)
        row.handle.emit(row.detokenizer.last(event, finish) if finish else event)
        return finish is not None

    def _keep(self, places: list[int]) -> None:
        """Keep only these rows, and remove padding that all of them have."""
        if len(places) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in places]
        if not self._rows:
            self._cache = []
            return
        held = max(len(row.tokens) for row in self._rows)
        # The last token of each row is not in the cache yet.
        spare = max(0, self._cache[0][0].shape[2] - (held - 1))
        index = torch.tensor(places, device=self._cache[0][0].device)
        self._cache = [(keys[index, :, spare:], values[index, :, spare:]) for keys, values in self._cache]


def _joined(old: Iterable[tuple[Tensor, Tensor]], new: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Return one cache with the rows of both, the shorter one padded on the left."""
    before = list(old)
    if not before:
        return list(new)
    width = max(before[0][0].shape[2], new[0][0].shape[2])

    def widened(part: Tensor) -> Tensor:
        return pad(part, (0, 0, width - part.shape[2], 0))

    return [
        (torch.cat((widened(keys), widened(more_keys))), torch.cat((widened(values), widened(more_values))))
        for (keys, values), (more_keys, more_values) in zip(before, new, strict=True)
    ]


def _why(error: Exception) -> str:
    if out_of_memory(error):
        return "it does not fit into memory, even alone"
    log.exception("a step failed")
    return f"the model fails on it: {type(error).__name__}"


def _tidy() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
