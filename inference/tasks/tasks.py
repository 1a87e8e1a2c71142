"""Tasks: their protocol, and text-to-text.

A task parses records, computes distinct texts by an engine, and returns the answers in the order of the records.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from inference.engines import Description, Generated, Prompt, TextEngine
from inference.engines.encoder_decoder import text_engine
from inference.engines.sampling import record_key
from inference.engines.search import most_new_tokens
from inference.models.configuration import TEXT_TO_TEXT
from inference.models.generation_defaults import blamed_on_file
from inference.models.languages import Languages
from inference.models.loading import Loaded
from inference.models.tokenizing import Encoded, Encoder, decoder_reach
from inference.records.parameters import Generation
from inference.records.requests import CancelToken, InferenceRequest, generation_request

log = logging.getLogger("inference")


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer for one text; `error` is the reason if there is none."""

    fields: Mapping[str, Any]
    tokens_in: int = 0
    tokens_out: int = 0
    truncated: bool = False
    repeated: bool = False
    seconds: float = 0.0
    error: str | None = None
    # Set only if tokens are generated one at a time.
    first_token_seconds: float | None = None


class Task(Protocol):
    """A task: parses records, and answers them with an engine."""

    name: str
    # Fields of an error line in place of an answer.
    nothing: Mapping[str, Any]
    # True if clients exist that read real-time answers, like lines, as Python literals.
    literal: bool

    @property
    def description(self) -> Description:
        """Device, engine and precision that were used so far."""
        ...

    def check_job(self, job: Mapping[str, Any]) -> None:
        """Raise Invalid for job parameters that no record could be answered with."""
        ...

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> InferenceRequest:
        """Parse a record.

        Raises:
            RecordInvalid: a field is missing or wrong.
        """
        ...

    def answer(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Return, for each request in order, an answer for each of its texts."""
        ...

    def weigh(self, request: InferenceRequest) -> int:
        """Estimate the tokens of a request; requests in one forward pass share a budget of tokens."""
        ...

    def real_time(self, request: InferenceRequest, bodies: list[dict[str, Any]]) -> Any:
        """Return the body of a real-time answer, from an object for each text."""
        ...

    def line(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer's fields as they are written on an output line."""
        ...


# Returns newly arrived requests, for at most the given number of texts, without waiting.
Joining = Callable[[int], Sequence[InferenceRequest]]


@runtime_checkable
class Flowing(Protocol):
    """A task with continuous batching: requests can join while others are generated, if `joins`."""

    joins: bool

    def flow(self, requests: Sequence[InferenceRequest], joining: Joining) -> Iterator[tuple[int, list[Answer]]]:
        """Yield each request's number and answers when they are ready; joining requests continue the numbers."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """A task whose requests can be tokenized on another thread than the one that answers them."""

    def tokenized(self, requests: Sequence[InferenceRequest]) -> list[InferenceRequest]:
        """Return the requests with the tokens that `answer` would otherwise compute."""
        ...


class EncoderTask:
    """The answer format that the two encoder tasks share."""

    literal = True

    def real_time(self, request: InferenceRequest, bodies: list[dict[str, Any]]) -> Any:
        """Return a list of objects if the request had a list of texts, else one object."""
        return bodies if request.many else bodies[0]

    def line(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer's fields unchanged."""
        return dict(fields)


class TextToText(EncoderTask):
    """Text-to-text by an encoder-decoder model."""

    name = TEXT_TO_TEXT
    nothing: Mapping[str, Any] = {"generated_texts": [""]}

    def __init__(self, loaded: Loaded, engine: TextEngine | None = None) -> None:
        """Make the task from a loaded model; the engine is chosen by the model unless given."""
        self._engine = engine or text_engine(loaded.model)
        self.joins = self._engine.joins
        self._tokenizer = loaded.tokenizer
        self._encoder = Encoder(loaded.tokenizer, loaded.model)
        with blamed_on_file():
            self._defaults = _within(Generation.of_model(loaded.model.generation_config), decoder_reach(loaded.model))
        self._languages = Languages(loaded.tokenizer, loaded.model.get_input_embeddings().num_embeddings)

    @property
    def description(self) -> Description:
        """The engine's description."""
        return self._engine.description

    @cached_property
    def _ahead(self) -> Encoder:
        return self._encoder.beside()

    def check_job(self, job: Mapping[str, Any]) -> None:
        """Raise Invalid for job parameters that no record could be answered with."""
        self._languages.resolved(self._defaults.updated(job))

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> InferenceRequest:
        """Parse a record, with its generation settings and languages resolved."""
        request = generation_request(record, job, self._defaults)
        assert isinstance(request.settings, Generation)
        return replace(request, settings=self._languages.resolved(request.settings))

    def weigh(self, request: InferenceRequest) -> int:
        """Estimate the tokens of a request: source and new tokens, times beams or returned sequences."""
        settings = request.settings
        assert isinstance(settings, Generation)
        width = max(settings.num_beams, settings.num_return_sequences)
        return width * sum(self._encoder.about(text) + most_new_tokens(settings) for text in request.texts)

    def tokenized(self, requests: Sequence[InferenceRequest]) -> list[InferenceRequest]:
        """Return the requests with their texts' tokens, by a tokenizer that no other thread uses."""
        return _with_tokens(requests, self._ahead)

    def answer(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Answer all requests, in order."""
        found = dict(self._flow(requests, None))
        return [found[number] for number in range(len(requests))]

    def flow(self, requests: Sequence[InferenceRequest], joining: Joining) -> Iterator[tuple[int, list[Answer]]]:
        """Yield answers as they are ready, while `joining` adds requests (continuous batching)."""
        return self._flow(requests, joining)

    def _flow(
        self, requests: Sequence[InferenceRequest], joining: Joining | None
    ) -> Iterator[tuple[int, list[Answer]]]:
        """Yield each request's number and answers, as they are ready."""
        # By prompt number: its source, and its requests' texts. Only prompts in progress are kept, because a flow may
        # be endless.
        asked: dict[int, tuple[Encoded, list[tuple[int, int]]]] = {}
        open_requests: dict[int, dict[int, Answer]] = {}
        missing: dict[int, int] = {}
        came = prompted = 0

        def enter(requests: Sequence[InferenceRequest]) -> list[Prompt]:
            nonlocal came, prompted
            wanted: dict[tuple[str, Generation], list[tuple[int, int]]] = {}
            waiting: dict[tuple[str, Generation], list[CancelToken]] = {}
            known: dict[tuple[str, Generation], Encoded] = {}
            for request in _with_tokens(requests, self._encoder):
                assert isinstance(request.settings, Generation)
                open_requests[came], missing[came] = {}, len(request.texts)
                for place, (text, source) in enumerate(zip(request.texts, request.prepared, strict=True)):
                    known[text, request.settings] = source
                    wanted.setdefault((text, request.settings), []).append((came, place))
                    waiting.setdefault((text, request.settings), []).append(request.cancel_token)
                came += 1
            prompts = []
            for (text, settings), places in wanted.items():
                source = known[text, settings]
                asked[prompted] = source, places
                prompted += 1
                clients = tuple(waiting[text, settings])
                prompts.append(Prompt(source.tokens, settings, record_key(settings.seed, text), clients))
            return prompts

        arrivals = None if joining is None else lambda room: enter(joining(room))
        for index, result in self._engine.generate(enter(requests), arrivals):
            source, places = asked.pop(index)
            answer = self._answer(result, source)
            for which, (number, place) in enumerate(places):
                open_requests[number][place] = repeated(answer) if which else answer
                missing[number] -= 1
                if not missing[number]:
                    del missing[number]
                    answers = open_requests.pop(number)
                    yield number, [answers[place] for place in range(len(answers))]

    def _answer(self, result: Generated, source: Encoded) -> Answer:
        tokens_in, truncated, seconds = len(source.tokens), source.truncated, result.seconds
        if result.error:
            return Answer(self.nothing, tokens_in, truncated=truncated, seconds=seconds, error=result.error)
        texts = self._tokenizer.batch_decode([list(row) for row in result.sequences], skip_special_tokens=True)
        tokens_out = sum(map(len, result.sequences))
        return Answer({"generated_texts": texts}, tokens_in, tokens_out, truncated, seconds=seconds)


def _with_tokens(requests: Sequence[InferenceRequest], encoder: Encoder) -> list[InferenceRequest]:
    """Return the requests with an `Encoded` for each of their texts; equal texts are tokenized once."""
    texts: dict[str | None, dict[str, None]] = {}
    for request in requests:
        if not request.prepared:
            texts.setdefault(_language(request), {}).update(dict.fromkeys(request.texts))
    found = {code: dict(zip(some, encoder.encode(list(some), code), strict=True)) for code, some in texts.items()}
    return [
        request
        if request.prepared
        else replace(request, prepared=tuple(found[_language(request)][text] for text in request.texts))
        for request in requests
    ]


def _language(request: InferenceRequest) -> str | None:
    return request.settings.src_lang if isinstance(request.settings, Generation) else None


def _within(settings: Generation, reach: int | None) -> Generation:
    """Limit a model's default lengths to its decoder's positions; longer requests are errors."""
    if reach is None:
        return settings
    new, whole = settings.max_new_tokens, settings.max_length
    return replace(
        settings,
        max_new_tokens=None if new is None else min(new, reach),
        # max_length includes the start token.
        max_length=None if whole is None else min(whole, reach + 1),
    )


def answer_each(task: Task, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
    """Answer `requests` together; after a failure retry each alone, so that only the failing one is an error."""
    try:
        return task.answer(requests)
    except Exception:
        if len(requests) > 1:
            log.exception("a pass failed; each of the %d requests in it is tried alone", len(requests))
    # Outside the except block, because the traceback keeps the failed pass's tensors in memory.
    return [_alone(task, request) for request in requests]


def _alone(task: Task, request: InferenceRequest) -> list[Answer]:
    try:
        return task.answer([request])[0]
    except Exception as error:
        log.exception("the model fails on a record")
        why = f"the model fails on this record: {type(error).__name__}."
        return [Answer(task.nothing, error=why) for _ in request.texts]


def spread(answers: Sequence[Answer], places: Sequence[Sequence[int]]) -> list[list[Answer]]:
    """Return each request's answers; an answer that an earlier request got, too, is marked as repeated."""
    seen: set[int] = set()
    out: list[list[Answer]] = []
    for wanted in places:
        row = []
        for place in wanted:
            answer = answers[place]
            row.append(answer if place not in seen else repeated(answer))
            seen.add(place)
        out.append(row)
    return out


def repeated(answer: Answer) -> Answer:
    """Return a copy of an answer that is marked as repeated."""
    return replace(answer, repeated=True)
