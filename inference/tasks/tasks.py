"""Tasks: their protocol, text to text, and zero-shot classification.

A task parses records, has an engine do the work on what is different, and puts the answers back in order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from inference.engines import Description, Entailment, Generated, Pair, PairEngine, Prompt, TextEngine
from inference.engines.encoder_decoder import text_engine
from inference.engines.nli import NliEngine
from inference.engines.sampling import record_key
from inference.engines.search import most_new_tokens
from inference.models.configuration import TEXT_TO_TEXT, ZERO_SHOT
from inference.models.generation_defaults import told_by_file
from inference.models.languages import Languages
from inference.models.loading import Loaded
from inference.models.tokenizing import Encoded, Encoder, decoder_reach
from inference.records.parameters import Generation, Labels
from inference.records.requests import CancelToken, Request, generation_request, zero_shot_request
from inference.tasks.score_cache import ScoreCache, Scored
from promotion.errors import Invalid

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
    # Set only if tokens are generated one by one.
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
        """Device, engine and precision that answered so far."""
        ...

    def check_job(self, job: Mapping[str, Any]) -> None:
        """Raise Invalid for job parameters that no record could be answered with."""
        ...

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> Request:
        """Parse a record.

        Raises:
            RecordInvalid: a field is missing or wrong.
        """
        ...

    def answer(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """Return, for each request in order, an answer for each of its texts."""
        ...

    def weigh(self, request: Request) -> int:
        """Estimate the tokens of a request; requests in one forward pass share a budget of tokens."""
        ...

    def real_time(self, request: Request, bodies: list[dict[str, Any]]) -> Any:
        """Return the body of a real-time answer, from an object for each text."""
        ...

    def line(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer's fields as they are written on an output line."""
        ...


# Requests that came meanwhile, for at most so many texts, without waiting.
Joining = Callable[[int], Sequence[Request]]


@runtime_checkable
class Flowing(Protocol):
    """A task with continuous batching: requests can join while others are generated, if `joins`."""

    joins: bool

    def flow(self, requests: Sequence[Request], joining: Joining) -> Iterator[tuple[int, list[Answer]]]:
        """Yield each request's number and answers when they are ready; joining requests continue the numbers."""
        ...


class _Plain:
    """The form of answers that the two tasks of encoders share."""

    literal = True

    def real_time(self, request: Request, bodies: list[dict[str, Any]]) -> Any:
        return bodies if request.many else bodies[0]

    def line(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(fields)


class TextToText(_Plain):
    """Texts from texts, by an encoder-decoder model."""

    name = TEXT_TO_TEXT
    nothing: Mapping[str, Any] = {"generated_texts": [""]}

    def __init__(self, loaded: Loaded, engine: TextEngine | None = None) -> None:
        """Make the task from a loaded model; the engine is chosen by the model unless given."""
        self._engine = engine or text_engine(loaded.model)
        self.joins = self._engine.joins
        self._tokenizer = loaded.tokenizer
        self._encoder = Encoder(loaded.tokenizer, loaded.model)
        with told_by_file():
            self._defaults = _within(Generation.of_model(loaded.model.generation_config), decoder_reach(loaded.model))
        self._languages = Languages(loaded.tokenizer, loaded.model.get_input_embeddings().num_embeddings)

    @property
    def description(self) -> Description:
        """The engine's description."""
        return self._engine.description

    def check_job(self, job: Mapping[str, Any]) -> None:
        """Raise Invalid for job parameters that no record could be answered with."""
        self._languages.resolved(self._defaults.updated(job))

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> Request:
        """Parse a record, with its generation settings and languages resolved."""
        request = generation_request(record, job, self._defaults)
        assert isinstance(request.settings, Generation)
        return replace(request, settings=self._languages.resolved(request.settings))

    def weigh(self, request: Request) -> int:
        """Estimate the tokens of a request: source and new tokens, times beams or returned sequences."""
        settings = request.settings
        assert isinstance(settings, Generation)
        width = max(settings.num_beams, settings.num_return_sequences)
        return width * sum(self._encoder.about(text) + most_new_tokens(settings) for text in request.texts)

    def answer(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """Answer all requests, in order."""
        found = dict(self._flow(requests, None))
        return [found[number] for number in range(len(requests))]

    def flow(self, requests: Sequence[Request], joining: Joining) -> Iterator[tuple[int, list[Answer]]]:
        """Yield answers as they are ready, while `joining` adds requests (continuous batching)."""
        return self._flow(requests, joining)

    def _flow(self, requests: Sequence[Request], joining: Joining | None) -> Iterator[tuple[int, list[Answer]]]:
        """By number of request, as they are ready."""
        # By prompt number: its source, and its requests' texts. Only those in progress are kept: a flow may be endless.
        asked: dict[int, tuple[Encoded, list[tuple[int, int]]]] = {}
        open_requests: dict[int, dict[int, Answer]] = {}
        missing: dict[int, int] = {}
        came = prompted = 0

        def enter(requests: Sequence[Request]) -> list[Prompt]:
            nonlocal came, prompted
            wanted: dict[tuple[str, Generation], list[tuple[int, int]]] = {}
            waiting: dict[tuple[str, Generation], list[CancelToken]] = {}
            for request in requests:
                assert isinstance(request.settings, Generation)
                open_requests[came], missing[came] = {}, len(request.texts)
                for place, text in enumerate(request.texts):
                    wanted.setdefault((text, request.settings), []).append((came, place))
                    waiting.setdefault((text, request.settings), []).append(request.cancel_token)
                came += 1
            encoded = self._encoded(list(wanted))
            prompts = []
            for source, ((text, settings), places) in zip(encoded, wanted.items(), strict=True):
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
                open_requests[number][place] = _repeated(answer) if which else answer
                missing[number] -= 1
                if not missing[number]:
                    del missing[number]
                    answers = open_requests.pop(number)
                    yield number, [answers[place] for place in range(len(answers))]

    def _encoded(self, wanted: Sequence[tuple[str, Generation]]) -> list[Encoded]:
        """Each text's tokens, in the order asked for, tokenized in the source language that it names."""
        found: dict[int, Encoded] = {}
        for code in {settings.src_lang for _, settings in wanted}:
            places = [place for place, (_, settings) in enumerate(wanted) if settings.src_lang == code]
            with self._languages.source(code):
                encoded = self._encoder.encode([wanted[place][0] for place in places])
            found.update(zip(places, encoded, strict=True))
        return [found[place] for place in range(len(wanted))]

    def _answer(self, result: Generated, source: Encoded) -> Answer:
        tokens_in, truncated, seconds = len(source.tokens), source.truncated, result.seconds
        if result.error:
            return Answer(self.nothing, tokens_in, truncated=truncated, seconds=seconds, error=result.error)
        texts = self._tokenizer.batch_decode([list(row) for row in result.sequences], skip_special_tokens=True)
        tokens_out = sum(map(len, result.sequences))
        return Answer({"generated_texts": texts}, tokens_in, tokens_out, truncated, seconds=seconds)


def _within(settings: Generation, reach: int | None) -> Generation:
    """Limit a model's default lengths to its decoder's positions; longer requests are errors."""
    if reach is None:
        return settings
    new, whole = settings.max_new_tokens, settings.max_length
    return replace(
        settings,
        max_new_tokens=None if new is None else min(new, reach),
        # It counts the start token.
        max_length=None if whole is None else min(whole, reach + 1),
    )


class ZeroShot(_Plain):
    """Labels for texts, by a model of natural language inference: does the text entail "This example is {label}."?"""

    name = ZERO_SHOT
    nothing: Mapping[str, Any] = {"sequence": "", "labels": [], "scores": []}

    def __init__(self, loaded: Loaded, engine: PairEngine | None = None) -> None:
        """Make the task from a loaded model; the engine computes pairs of text and hypothesis."""
        self._engine = engine or NliEngine(loaded.model)
        self._encoder = Encoder(loaded.tokenizer, loaded.model)
        self._cache = ScoreCache()

    def forget(self) -> None:
        """Forget the scores of earlier calls."""
        self._cache = ScoreCache()

    @property
    def description(self) -> Description:
        """The engine's description."""
        return self._engine.description

    def check_job(self, job: Mapping[str, Any]) -> None:
        """Raise Invalid for job parameters that no record could be answered with."""
        Labels.of({"candidate_labels": ["any"], **{name: value for name, value in job.items() if value is not None}})

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> Request:
        """Parse a record, and refuse labels that are longer than the model's input."""
        request = zero_shot_request(record, job)
        assert isinstance(request.settings, Labels)
        for label, hypothesis in zip(request.settings.candidate_labels, request.settings.hypotheses, strict=True):
            if len(hypothesis) > self._encoder.longest and not self._encoder.fits_as_hypothesis(hypothesis):
                raise Invalid("candidate_labels", f"{label[:40]!r}… is longer than the model can take.")
        return request

    def weigh(self, request: Request) -> int:
        """Estimate the tokens of all pairs of text and hypothesis."""
        assert isinstance(request.settings, Labels)
        hypotheses = [self._encoder.about(one) for one in request.settings.hypotheses]
        return sum(len(hypotheses) * self._encoder.about(text) + sum(hypotheses) for text in request.texts)

    def answer(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """Answer all requests, in order; equal pairs are computed once, in this call and those before."""
        pairs: dict[tuple[str, str], int] = {}
        wanted: dict[tuple[str, Labels], list[int]] = {}
        places: list[list[int]] = []
        order: dict[tuple[str, Labels], int] = {}
        for request in requests:
            settings = request.settings
            assert isinstance(settings, Labels)
            for text in request.texts:
                if (text, settings) not in wanted:
                    order[text, settings] = len(order)
                    wanted[text, settings] = [pairs.setdefault((text, one), len(pairs)) for one in settings.hypotheses]
            places.append([order[text, settings] for text in request.texts])
        scores = self._scores(list(pairs))
        answers = []
        for (text, settings), used in wanted.items():
            found = [scores[place] for place in used]
            tokens_in, truncated = sum(one.tokens for one in found), any(one.truncated for one in found)
            error = next((one.logits.error for one in found if one.logits.error), None)
            seconds = max(one.logits.seconds for one in found)
            fields = self.nothing if error else ranked(text, settings, [one.logits for one in found])
            answers.append(Answer(fields, tokens_in, 0, truncated, seconds=seconds, error=error))
        return spread(answers, places)

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[Scored]:
        """Each pair's score, from the cache or from the engine."""
        known = [self._cache.get(*pair) for pair in pairs]
        missing = [place for place, one in enumerate(known) if one is None]
        scores = {
            place: replace(one, logits=replace(one.logits, seconds=0.0)) for place, one in enumerate(known) if one
        }
        if missing:
            encoded = self._encoder.encode_pairs(*map(list, zip(*(pairs[place] for place in missing), strict=True)))
            for index, logits in self._engine.score([Pair(source.tokens, source.types) for source in encoded]):
                place, source = missing[index], encoded[index]
                scores[place] = Scored(logits, len(source.tokens), source.truncated)
                self._cache.put(*pairs[place], scores[place])
        return [scores[place] for place in range(len(pairs))]


def answer_each(task: Task, requests: Sequence[Request]) -> list[list[Answer]]:
    """Answer `requests` together; after a failure each alone, so that only the broken one is an error."""
    try:
        return task.answer(requests)
    except Exception:
        if len(requests) > 1:
            log.exception("a pass failed; each of the %d requests in it is tried alone", len(requests))
    # Outside the except block: the traceback holds the failed pass's tensors.
    return [_alone(task, request) for request in requests]


def _alone(task: Task, request: Request) -> list[Answer]:
    try:
        return task.answer([request])[0]
    except Exception as error:
        log.exception("the model fails on a record")
        why = f"the model fails on this record: {type(error).__name__}."
        return [Answer(task.nothing, error=why) for _ in request.texts]


def ranked(text: str, settings: Labels, logits: Sequence[Entailment]) -> dict[str, Any]:
    """Labels best first, as the transformers pipeline has them.

    One of several: the labels' entailments compete. Each by itself (or a single one): entailment against contradiction.
    """
    entailment = np.array([one.entailment for one in logits])  # (labels,), float64
    if settings.multi_label or len(logits) == 1:
        contradiction = np.array([one.contradiction for one in logits])
        scores = 1 / (1 + np.exp(np.clip(contradiction - entailment, -700, 700)))
    else:
        weights = np.exp(entailment - entailment.max())
        scores = weights / weights.sum()
    best_first = np.argsort(scores, kind="stable")[::-1]
    labels = [settings.candidate_labels[place] for place in best_first]
    return {"sequence": text, "labels": labels, "scores": [float(scores[place]) for place in best_first]}


def spread(answers: Sequence[Answer], places: Sequence[Sequence[int]]) -> list[list[Answer]]:
    """Each request's answers; one that an earlier request had already got is marked as repeated."""
    seen: set[int] = set()
    out: list[list[Answer]] = []
    for wanted in places:
        row = []
        for place in wanted:
            answer = answers[place]
            row.append(answer if place not in seen else _repeated(answer))
            seen.add(place)
        out.append(row)
    return out


def _repeated(answer: Answer) -> Answer:
    return replace(answer, repeated=True)
