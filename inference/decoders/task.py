"""The task of decoders in the pipeline: text generation, with whole answers in TGI's format."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inference.decoders import DecoderEngine, GenerationRequest, RequestHandle, TokenEvent
from inference.decoders.request_reader import RequestReader
from inference.decoders.settings import Decoding, Limits
from inference.decoders.words import ends_of
from inference.engines import Description
from inference.models.configuration import TEXT_GENERATION
from inference.models.generation_defaults import blamed_on_file
from inference.models.loading import Loaded
from inference.records.requests import InferenceRequest
from inference.tasks.tasks import Answer, spread


@dataclass(slots=True)
class Collected:
    """All events of one continuation."""

    prompt: GenerationRequest
    started: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    seconds: float = 0.0
    events: list[TokenEvent] = field(default_factory=list)

    def add(self, event: TokenEvent) -> None:
        self.seconds = time.perf_counter() - self.started
        self.first = self.first or self.seconds
        self.events.append(event)

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1].finish is not None

    @property
    def tokens_out(self) -> int:
        return sum(event.id >= 0 for event in self.events)

    def answer(self, *, chat: bool) -> Answer:
        """Return the whole answer, with the requested details."""
        last, settings = self.events[-1], self.prompt.settings
        tokens_in = len(self.prompt.tokens)
        if last.error:
            return Answer(TextGeneration.nothing, tokens_in, seconds=self.seconds, error=last.error)
        fields: dict[str, Any] = {"generated_text": full_text(self.prompt, last)}
        if settings.details:
            tokens = [
                {"id": event.id, "text": event.text, "logprob": event.logprob, "special": event.special}
                for event in self.events
            ]
            # Log-probabilities of prompt tokens are not computed, which TGI's format allows: the first token never has one.
            prefill = [
                {"id": token, "text": text, "logprob": None}
                for token, text in zip(self.prompt.tokens, self.prompt.shown, strict=False)
            ]
            fields["details"] = {**details(self.prompt, last, self.tokens_out), "prefill": prefill, "tokens": tokens}
        if chat:
            # JumpStart's Llama-2-chat's answer to messages, beside TGI's.
            fields["generation"] = {"role": "assistant", "content": last.generated_text}
        return Answer(fields, tokens_in, self.tokens_out, seconds=self.seconds, first_token_seconds=self.first)


class TextGeneration:
    """Texts continued by a decoder model."""

    name = TEXT_GENERATION
    nothing: Mapping[str, Any] = {"generated_text": ""}
    literal = False

    def __init__(self, loaded: Loaded, limits: Limits, engine: DecoderEngine) -> None:
        self.engine, self.limits = engine, limits
        with blamed_on_file():
            defaults = Decoding.of_model(loaded.generation_config)
        self._reader = RequestReader(loaded.tokenizer, limits, defaults, ends_of(loaded.generation_config))

    @property
    def description(self) -> Description:
        return self.engine.description

    def check_job(self, job: Mapping[str, Any]) -> None:
        self._reader.defaults.updated(job)

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> InferenceRequest:
        return self._reader.request(record, job)

    def weigh(self, request: InferenceRequest) -> int:
        return sum(prompt.most_tokens for prompt in request.prepared)

    def answer(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Answer all `requests` on the caller's thread. Equal ones are computed once."""
        wanted: dict[tuple[tuple[int, ...], Decoding], int] = {}
        found: list[Collected] = []
        places: list[list[int]] = []
        for request in requests:
            row = []
            for prompt in request.prepared:
                place = wanted.setdefault((prompt.tokens, prompt.settings), len(found))
                if place == len(found):
                    found.append(Collected(prompt))
                row.append(place)
            places.append(row)
        # Longest first, so that rows of one batch have similar lengths and little padding.
        for one in sorted(found, key=lambda one: -one.prompt.most_tokens):
            self.engine.submit(RequestHandle(one.prompt, one.add))
        while self.engine.step():
            pass
        chats = [False] * len(found)
        for request, row in zip(requests, places, strict=True):
            for place in row:
                chats[place] = request.chat
        answers = spread([one.answer(chat=chat) for one, chat in zip(found, chats, strict=True)], places)
        return [grouped(request, row) for request, row in zip(requests, answers, strict=True)]

    def real_time(self, request: InferenceRequest, bodies: list[dict[str, Any]]) -> Any:
        """Return a list always, as TGI does; several texts of a prompt as a list each, as JumpStart's notebooks expect."""
        if request.settings.num_return_sequences == 1:  # type: ignore[union-attr]
            return bodies
        return [
            [{**_alone(body), "generated_text": text} for text in body["generated_texts"]]
            if "details" not in body
            else body
            for body in bodies
        ]

    def line(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return an output line's fields; scoring reads `generated_texts` for every task."""
        return {**fields, "generated_texts": fields.get("generated_texts") or [fields["generated_text"]]}


def _alone(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name == "id"}


def grouped(request: InferenceRequest, answers: Sequence[Answer]) -> list[Answer]:
    """Return one answer for each text of `request`; if several were drawn for it, the first one, with all of them added."""
    settings = request.settings
    assert isinstance(settings, Decoding)
    each = settings.num_return_sequences
    if each == 1:
        return list(answers)
    return [_together(answers[first : first + each]) for first in range(0, len(answers), each)]


def _together(answers: Sequence[Answer]) -> Answer:
    first = answers[0]
    error = next((answer.error for answer in answers if answer.error), None)
    fields = {**first.fields, "generated_texts": [answer.fields["generated_text"] for answer in answers]}
    if "details" in first.fields and error is None:
        # TGI's name for the other texts of the same prompt.
        others = [{"generated_text": one.fields["generated_text"], **one.fields["details"]} for one in answers[1:]]
        fields["details"] = {**first.fields["details"], "best_of_sequences": others}
    return replace(
        first,
        fields=fields,
        tokens_out=sum(answer.tokens_out for answer in answers),
        seconds=max(answer.seconds for answer in answers),
        error=error,
    )


def full_text(prompt: GenerationRequest, last: TokenEvent) -> str:
    """Return the generated text, after its prompt if that was requested."""
    return (prompt.text if prompt.settings.return_full_text else "") + (last.generated_text or "")


def details(prompt: GenerationRequest, last: TokenEvent, tokens_out: int) -> dict[str, Any]:
    """Return TGI's `details` of a finished text."""
    return {
        "finish_reason": last.finish,
        "generated_tokens": tokens_out,
        "seed": prompt.settings.seed,
        "input_length": len(prompt.tokens),
    }
