"""Whole answers by transformers' own continuous batching, for batch jobs: `generate_batch`, over a cache in pages.

It takes what is greedy and asks for nothing else: its sampling has one seed for all, and a text would depend on its
neighbours. The rest, and what fails there, is the step engine's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from inference.decoders import Continuation, Ticket
from inference.decoders.settings import Limits
from inference.decoders.steps import StepEngine
from inference.engines import Description

NAME = "generate_batch"
_PAGE = 256
# Tokens in one forward pass on a CPU; by default it plans for a GPU's memory.
_CPU_TOKENS = 1_024

log = logging.getLogger("inference")


class PagedEngine:
    """Generates without streaming: all tokens of a text are returned at once."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, limits: Limits, rest: StepEngine) -> None:
        self._model, self._tokenizer, self._limits, self._rest = model, tokenizer, limits, rest
        self._own = Description(NAME, str(model.device), str(model.dtype).removeprefix("torch."))
        self._by_own = self._by_rest = False

    @property
    def description(self) -> Description:
        """Description that names the step engine too, if it answered some of the requests."""
        if self._by_own and self._by_rest:
            return Description(f"{self._rest.description.name}+{NAME}", self._own.device, self._own.dtype)
        return self._own if self._by_own else self._rest.description

    def does(self, prompt: Continuation) -> bool:
        """Return True if `generate_batch` can answer `prompt`."""
        settings = prompt.settings
        return not (settings.do_sample or settings.details or settings.repetition_penalty != 1)

    def answer(self, tickets: Sequence[Ticket]) -> None:
        """Tell each ticket all of its tokens."""
        groups: dict[int, list[Ticket]] = {}
        left: list[Ticket] = []
        for ticket in tickets:
            most = ticket.prompt.settings.max_new_tokens or 0
            (groups.setdefault(most, []) if self.does(ticket.prompt) else left).append(ticket)
        for most, group in groups.items():
            left += self._generate(group, most)
        for ticket in left:
            self._rest.submit(ticket)
        self._by_rest |= bool(left)
        while self._rest.step():
            pass

    def _generate(self, tickets: Sequence[Ticket], most: int) -> list[Ticket]:
        """Answer `tickets` with at most `most` tokens each; returns those that got nothing."""
        found: dict[str, Any] = {}
        try:
            # Not under inference_mode: it works on a thread of its own.
            found = self._model.generate_batch(
                [list(ticket.prompt.tokens) for ticket in tickets],
                generation_config=GenerationConfig(
                    max_new_tokens=most, do_sample=False, eos_token_id=sorted(self._rest.speech.ends),
                    pad_token_id=self._tokenizer.pad_token_id or 0,
                ),
                continuous_batching_config=self._pages(),
                progress_bar=False,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - whatever it can't do, the step engine may
            log.warning("generate_batch gave up, the step engine goes on: %s: %s", type(error).__name__, error)
        # Its ids end with the places in what it was given.
        answers = {int(name.rpartition("_")[2]): one for name, one in found.items()}
        missing = []
        for place, ticket in enumerate(tickets):
            answer = answers.get(place)
            if answer is None or answer.error or not answer.generated_tokens:
                missing.append(ticket)
                continue
            self._by_own = True
            self._tell(ticket, answer.generated_tokens, most)
        return missing

    def _pages(self) -> ContinuousBatchingConfig:
        if self._model.device.type == "cuda":
            return ContinuousBatchingConfig(page_size=_PAGE)
        blocks = -(-self._limits.batch_total_tokens // _PAGE) + 1
        return ContinuousBatchingConfig(page_size=_PAGE, num_blocks=blocks, max_batch_tokens=_CPU_TOKENS)

    def _tell(self, ticket: Ticket, tokens: Sequence[int], most: int) -> None:
        saying = self._rest.speech.of(ticket.prompt)
        for made, token in enumerate(tokens, start=1):
            # It returns no log probabilities; requests for details go to the step engine.
            piece = saying.piece(token, 0.0)
            finish = piece.finish or ("length" if made == most else None)
            ticket.emit(saying.last(piece, finish) if finish else piece)
            if finish:
                return
