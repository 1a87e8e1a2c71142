"""Zero-shot classification: labels for texts, by natural language inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from inference.engines import Description, Entailment, Pair, PairEngine
from inference.engines.nli import NliEngine
from inference.models.configuration import ZERO_SHOT
from inference.models.loading import Loaded
from inference.models.tokenizing import Encoded, Encoder
from inference.records.parameters import Labels
from inference.records.requests import InferenceRequest, zero_shot_request
from inference.tasks.score_cache import ScoreCache, Scored
from inference.tasks.tasks import Answer, EncoderTask, spread
from promotion.errors import Invalid


class ZeroShot(EncoderTask):
    """Zero-shot classification by natural language inference: does the text entail "This example is {label}."?"""

    name = ZERO_SHOT
    nothing: Mapping[str, Any] = {"sequence": "", "labels": [], "scores": []}

    def __init__(self, loaded: Loaded, engine: PairEngine | None = None) -> None:
        """Make the task from a loaded model; the engine computes pairs of text and hypothesis."""
        self._engine = engine or NliEngine(loaded.model)
        self._encoder = Encoder(loaded.tokenizer, loaded.model)
        self._cache = ScoreCache()

    @cached_property
    def _ahead(self) -> Encoder:
        return self._encoder.beside()

    def forget(self) -> None:
        """Clear the cache of scores."""
        self._cache = ScoreCache()

    @property
    def description(self) -> Description:
        """The engine's description."""
        return self._engine.description

    def check_job(self, job: Mapping[str, Any]) -> None:
        """Raise Invalid for job parameters that no record could be answered with."""
        Labels.of({"candidate_labels": ["any"], **{name: value for name, value in job.items() if value is not None}})

    def parse(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> InferenceRequest:
        """Parse a record, and refuse labels that are longer than the model's input."""
        request = zero_shot_request(record, job)
        assert isinstance(request.settings, Labels)
        for label, hypothesis in zip(request.settings.candidate_labels, request.settings.hypotheses, strict=True):
            if len(hypothesis) > self._encoder.longest and not self._encoder.fits_as_hypothesis(hypothesis):
                raise Invalid("candidate_labels", f"{label[:40]!r}… is longer than the model can take.")
        return request

    def weigh(self, request: InferenceRequest) -> int:
        """Estimate the tokens of all pairs of text and hypothesis."""
        assert isinstance(request.settings, Labels)
        hypotheses = [self._encoder.about(one) for one in request.settings.hypotheses]
        return sum(len(hypotheses) * self._encoder.about(text) + sum(hypotheses) for text in request.texts)

    def tokenized(self, requests: Sequence[InferenceRequest]) -> list[InferenceRequest]:
        """Return the requests with their pairs' tokens, by a tokenizer that no other thread uses."""
        pairs = dict.fromkeys(pair for request in requests for pair in _pairs(request))
        found = dict(zip(pairs, _encoded_pairs(self._ahead, list(pairs)), strict=True))
        return [replace(request, prepared=tuple(found[pair] for pair in _pairs(request))) for request in requests]

    def answer(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Answer all requests, in order; equal pairs are computed once, also across calls."""
        pairs: dict[tuple[str, str], int] = {}
        wanted: dict[tuple[str, Labels], list[int]] = {}
        places: list[list[int]] = []
        order: dict[tuple[str, Labels], int] = {}
        tokens: dict[tuple[str, str], Encoded] = {}
        for request in requests:
            settings = request.settings
            assert isinstance(settings, Labels)
            tokens.update(zip(_pairs(request), request.prepared, strict=False))
            for text in request.texts:
                if (text, settings) not in wanted:
                    order[text, settings] = len(order)
                    wanted[text, settings] = [pairs.setdefault((text, one), len(pairs)) for one in settings.hypotheses]
            places.append([order[text, settings] for text in request.texts])
        scores = self._scores(list(pairs), tokens)
        answers = []
        for (text, settings), used in wanted.items():
            found = [scores[place] for place in used]
            tokens_in, truncated = sum(one.tokens for one in found), any(one.truncated for one in found)
            error = next((one.logits.error for one in found if one.logits.error), None)
            seconds = max(one.logits.seconds for one in found)
            fields = self.nothing if error else ranked(text, settings, [one.logits for one in found])
            answers.append(Answer(fields, tokens_in, 0, truncated, seconds=seconds, error=error))
        return spread(answers, places)

    def _scores(self, pairs: Sequence[tuple[str, str]], tokens: Mapping[tuple[str, str], Encoded]) -> list[Scored]:
        """Return each pair's score, from the cache or the engine; `tokens` has tokens that were computed before."""
        known = [self._cache.get(*pair) for pair in pairs]
        missing = [place for place, one in enumerate(known) if one is None]
        scores = {
            place: replace(one, logits=replace(one.logits, seconds=0.0)) for place, one in enumerate(known) if one
        }
        if missing:
            new = [pairs[place] for place in missing if pairs[place] not in tokens]
            tokens = {**tokens, **dict(zip(new, _encoded_pairs(self._encoder, new), strict=True))}
            encoded = [tokens[pairs[place]] for place in missing]
            for index, logits in self._engine.score([Pair(source.tokens, source.types) for source in encoded]):
                place, source = missing[index], encoded[index]
                scores[place] = Scored(logits, len(source.tokens), source.truncated)
                self._cache.put(*pairs[place], scores[place])
        return [scores[place] for place in range(len(pairs))]


def ranked(text: str, settings: Labels, logits: Sequence[Entailment]) -> dict[str, Any]:
    """Return labels with scores, best first, like the pipeline of transformers.

    Single-label: softmax over the labels' entailment logits. Multi-label, or with one label: softmax of entailment and
    contradiction for each label.
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


def _pairs(request: InferenceRequest) -> list[tuple[str, str]]:
    assert isinstance(request.settings, Labels)
    return [(text, hypothesis) for text in request.texts for hypothesis in request.settings.hypotheses]


def _encoded_pairs(encoder: Encoder, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
    return encoder.encode_pairs(*map(list, zip(*pairs, strict=True))) if pairs else []
