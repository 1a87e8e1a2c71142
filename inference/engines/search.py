"""Choose the next token: the best one, or one drawn by the record's own random numbers. Beams are in beams.py.

`Rules` has the model's other generation settings, which are applied in the order of `generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from inference.engines import Prompt
from inference.engines.generate import DEFAULT_NEW_TOKENS
from inference.engines.sampling import pick, uniform_draws
from inference.engines.transfers import fetched, onto
from inference.records.parameters import Generation

Sequences = tuple[tuple[int, ...], ...]
_NEVER = float("-inf")
# Fields of a generation configuration that this engine supports, or that change no token.
_FOLLOWED = {
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams",
    "num_return_sequences", "no_repeat_ngram_size", "early_stopping", "length_penalty", "do_sample", "temperature",
    "top_k", "top_p", "use_cache", "transformers_version", "_from_model_config", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """Search settings that all sequences of a model share."""

    start: int
    ends: tuple[int, ...]
    forced_first: int | None = None
    forced_last: tuple[int, ...] = ()
    least_new_tokens: int = 0
    length_penalty: float = 1.0

    @classmethod
    def of_model(cls, config: Any, start: int) -> Rules | None:
        """Read the rules from a generation configuration; None if this engine doesn't support one of them."""
        asked = {name for name, value in config.to_diff_dict().items() if value is not None}
        starts = config.decoder_start_token_id
        if asked - _FOLLOWED or config.eos_token_id is None or (starts is not None and starts != start):
            return None
        return cls(
            start,
            _ids(config.eos_token_id),
            config.forced_bos_token_id,
            _ids(config.forced_eos_token_id),
            # min_length counts the start token.
            max((config.min_length or 0) - 1, config.min_new_tokens or 0, 0),
            1.0 if config.length_penalty is None else config.length_penalty,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The result of one step."""

    tokens: Tensor  # int64, (slots, width)
    parents: Tensor | None  # int64, (slots, width): the sequence of its slot that each continues; None: its own
    # Return the finished sequences by slot. Call exactly once a step, in order (synchronizes with the GPU).
    done: Callable[[], dict[int, Sequences]]


class Search(Protocol):
    """Search strategy: chooses the next tokens of all slots."""

    # True if the next choice depends on tokens that `done` of the last one reads first.
    reads_texts: bool

    def begin(self, slot: int, prompt: Prompt) -> None: ...

    def move(self, source: int, target: int) -> None: ...

    def enlarge(self, slots: int, reach: int) -> None:
        """Make room for more slots, and for longer texts, and keep the content."""
        ...

    def choose(self, scores: Tensor) -> Choice:
        """Choose from `scores`, (slots in use, width, vocabulary)."""
        ...


@dataclass(slots=True)
class SlotState:
    """The texts of one slot without beam search."""

    prompt: Prompt
    limit: int
    draws: Tensor | None  # float64, (width, limit)
    rows: list[list[int]]
    open: list[bool]
    made: int = field(default=0)
    read: int = field(default=0)  # of those made


class TokenSearch:
    """Greedy search and sampling, for texts that don't compete with each other."""

    def __init__(self, rules: Rules, slots: int, width: int) -> None:
        self._rules, self._width = rules, width
        self._slots: list[SlotState | None] = [None] * slots
        self.reads_texts = False

    def begin(self, slot: int, prompt: Prompt) -> None:
        limit, width, settings = most_new_tokens(prompt.settings), self._width, prompt.settings
        draws = None
        if settings.do_sample:
            rows = [torch.from_numpy(uniform_draws(prompt.key, sequence, limit)) for sequence in range(width)]
            draws = torch.stack(rows)
        self._slots[slot] = SlotState(prompt, limit, draws, [[] for _ in range(width)], [True] * width)
        self.reads_texts |= settings.no_repeat_ngram_size > 0

    def move(self, source: int, target: int) -> None:
        self._slots[target] = self._slots[source]

    def enlarge(self, slots: int, reach: int) -> None:
        self._slots += [None] * (slots - len(self._slots))

    def choose(self, scores: Tensor) -> Choice:
        slots = [slot for slot in self._slots[: scores.shape[0]] if slot is not None]
        scores = constrained(
            scores,
            self._rules,
            [Progress(slot.rows, slot.made, slot.limit, slot.prompt.settings.no_repeat_ngram_size) for slot in slots],
        )
        tokens = scores.argmax(dim=-1)
        drawn = [number for number, slot in enumerate(slots) if slot.draws is not None]
        if drawn:
            places = onto(tokens.device, torch.tensor(drawn))
            tokens[places] = self._draw(scores[places], [slots[number] for number in drawn])
        for slot in slots:
            slot.made += 1
        numbers = fetched(tokens)
        return Choice(tokens, None, lambda: self._read(slots, numbers()))

    def _read(self, slots: Sequence[SlotState], tokens: Sequence[Sequence[int]]) -> dict[int, Sequences]:
        done = {}
        for number, (slot, chosen) in enumerate(zip(slots, tokens, strict=True)):
            slot.read += 1
            for place, token in enumerate(chosen):
                if not slot.open[place]:
                    continue
                if token in self._rules.ends:
                    slot.open[place] = False
                else:
                    slot.rows[place].append(token)
            if slot.read == slot.limit or not any(slot.open):
                done[number] = tuple(map(tuple, slot.rows))
        return done

    def _draw(self, scores: Tensor, slots: Sequence[SlotState]) -> Tensor:
        """Draw tokens, int64, (slots, width), each by its own random number and its record's settings."""
        settings = [slot.prompt.settings for slot in slots for _ in range(self._width)]
        # A finished sequence that is not known to be finished has no draw left; its last draw is used, and the token discarded.
        places = [min(slot.made, slot.limit - 1) for slot in slots]
        draws = torch.cat(
            [slot.draws[:, place] for slot, place in zip(slots, places, strict=True) if slot.draws is not None]
        )
        tokens = pick(
            scores.flatten(0, 1),
            draws,
            temperature=[one.temperature for one in settings],
            top_k=[one.top_k for one in settings],
            top_p=[one.top_p for one in settings],
        )
        return tokens.view(-1, self._width)


class Progress(NamedTuple):
    """Progress of one slot's sequences."""

    rows: Sequence[Sequence[int]]
    made: int
    limit: int
    ngram: int


def constrained(scores: Tensor, rules: Rules, progress: Sequence[Progress]) -> Tensor:
    """Return `scores`, (slots, width, vocabulary), float32, with the tokens that `rules` forbid at -inf.

    All slots are masked in one write, because on a GPU each write costs about a hundredth of the step.
    """
    emptied: list[int] = []
    kept: list[tuple[int, int, int]] = []  # slot, text, token
    never: list[tuple[int, int, int]] = []
    texts = range(scores.shape[1])
    for slot, one in enumerate(progress):
        first = rules.forced_first if one.made == 0 else None
        forced = (rules.forced_last if one.made == one.limit - 1 else ()) or (() if first is None else (first,))
        if forced:
            emptied.append(slot)
            kept += [(slot, text, token) for text in texts for token in forced]
            continue
        for text, row in enumerate(one.rows if one.ngram else ()):
            never += [(slot, text, token) for token in repeats((rules.start, *row), one.ngram)]
        if one.made < rules.least_new_tokens:
            never += [(slot, text, token) for text in texts for token in rules.ends]
    if not (emptied or never):
        return scores
    if scores.dtype != torch.float32 or scores.is_inference():
        scores = scores.float().clone()
    if emptied:
        scores[onto(scores.device, torch.tensor(emptied))] = _NEVER
    for places, value in ((kept, 0.0), (never, _NEVER)):
        if places:
            scores[tuple(onto(scores.device, torch.tensor(places)).t())] = value
    return scores


def repeats(text: Sequence[int], ngram: int) -> Iterator[int]:
    """Return the tokens that would repeat a run of `ngram` tokens of `text`."""
    last = tuple(text[len(text) - ngram + 1 :]) if ngram > 1 else ()
    for run in zip(*(text[start:] for start in range(ngram)), strict=False):
        if run[:-1] == last:
            yield run[-1]


def most_new_tokens(settings: Generation) -> int:
    """Return the maximum of new tokens; `max_length` counts the start token, and leaves room for at least one."""
    length = max(1, settings.max_length - 1) if settings.max_length else DEFAULT_NEW_TOKENS
    return settings.max_new_tokens or length


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (int(value),)
