"""Our answers to the same records, against those of transformers on the same files, one text at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from checkpoints import DECODER, LABELS, TEXTS, Row
from tokenizers_made import ASKED
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from inference.batch.opening import task_for
from inference.errors import ModelBroken, ModelRefused
from inference.models.loading import load
from inference.models.tokenizing import Encoder
from inference.tasks.pipeline import Pipeline
from promotion.errors import Invalid

REFUSALS = (ModelBroken, ModelRefused, Invalid)
_NEW, _LONGEST_PROMPT = 12, 100  # tokens
_TEXT_SETTINGS: Mapping[str, dict[str, Any]] = {
    "defaults": {},
    "greedy": {"num_beams": 1, "max_new_tokens": _NEW, "do_sample": False},
    "beams": {"num_beams": 3, "max_new_tokens": _NEW, "no_repeat_ngram_size": 3, "early_stopping": True},
    "several": {"num_beams": 3, "num_return_sequences": 2, "max_length": 10},
}
_LABELS = ["music", "a bridge", "the weather"]
_LABEL_SETTINGS: Mapping[str, dict[str, Any]] = {
    "one of several": {},
    "each by itself": {"multi_label": True},
    "another template": {"hypothesis_template": "It is about {}."},
    "a single label": {"candidate_labels": ["music"]},
}
_DECODER_SETTINGS: Mapping[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 24},
    "penalty": {"max_new_tokens": 16, "repetition_penalty": 1.3},
}


def compared(row: Row, folder: Path) -> tuple[str, str]:
    """Return `equal`, `refused` or `DIFFERENT`, and the observation."""
    try:
        loaded = load(folder, task=row.named_task or row.task)
        task = task_for(loaded)
    except REFUSALS as error:
        return "refused", str(error)
    if torch.is_inference_mode_enabled():
        raise AssertionError("the reference must not run under inference mode")
    found = {TEXTS: _texts, LABELS: _labels, DECODER: _decoder}[row.task](row, folder, Pipeline(task))
    engine = task.description.name
    return ("DIFFERENT", found) if found else ("equal", engine)


def _answers(ours: Pipeline, records: Sequence[dict[str, Any]], *, twice: bool) -> list[dict[str, Any]]:
    """Our answers; `twice` also in reverse, as an answer must not depend on what came before."""
    lines = [json.dumps(record).encode() for record in records]
    found = [json.loads(line) for line in ours.answer_lines(lines).lines]
    if not twice:
        return found
    again = [json.loads(line) for line in reversed(ours.answer_lines(lines[::-1]).lines)]
    for one, other in zip(found, again, strict=True):
        if one.get("generated_texts") != other.get("generated_texts") or one.get("labels") != other.get("labels"):
            return [{"error": f"depends on its neighbours: {one!r:.80} {other!r:.80}"}]
    return found


def _texts(row: Row, folder: Path, ours: Pipeline) -> str:
    names, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    changes = getattr(model.config, "attention_type", None) is not None
    for name, settings in _TEXT_SETTINGS.items():
        found = _answers(ours, [{"text_inputs": text, **settings} for text in ASKED], twice=name == "greedy")
        for text, answer in zip(ASKED, found, strict=False):
            if changes:
                # A short text switches its attention for good.
                model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
            tokens = names(text, return_tensors="pt", truncation=True, max_length=Encoder(names, model).longest)
            tokens.pop("token_type_ids", None)
            with torch.inference_mode():
                wanted = names.batch_decode(model.generate(**tokens, **settings), skip_special_tokens=True)
            if answer.get("generated_texts") != wanted or "error" in answer:
                return f"{name}: {answer!r:.150} instead of {wanted!r:.100}"
    return ""


def _labels(row: Row, folder: Path, ours: Pipeline) -> str:
    names = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    names.model_max_length = Encoder(names, model).longest
    theirs = pipeline("zero-shot-classification", model=model, tokenizer=names)
    kind = getattr(model.config, "attention_type", None)
    largest = 0.0
    for name, settings in _LABEL_SETTINGS.items():
        records = [{"sequences": text, "candidate_labels": _LABELS, **settings} for text in ASKED]
        for record, answer in zip(records, _answers(ours, records, twice=not settings), strict=False):
            if "error" in answer:
                return f"{name}: {answer['error']}"
            expected: dict[str, float] = {}
            fields = {key: value for key, value in record.items() if key != "sequences"}
            if kind:
                # Switched for good by a short text, and made fresh here.
                model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
                theirs = pipeline("zero-shot-classification", model=model, tokenizer=names)
            result = theirs(record["sequences"], truncation="only_first", **fields)
            expected = dict(zip(result["labels"], result["scores"], strict=True))
            got = dict(zip(answer["labels"], answer["scores"], strict=True))
            largest = max(largest, *(abs(got[label] - expected[label]) for label in expected))
            if largest > row.tolerance:
                return f"{name}: a score differs by {largest:.1e}"
    return ""


def _decoder(row: Row, folder: Path, ours: Pipeline) -> str:
    names = AutoTokenizer.from_pretrained(folder)
    # A prompt beyond the reach is refused, and so has no answer to compare.
    prompts = [text for text in ASKED if len(names(text)["input_ids"]) <= _LONGEST_PROMPT]
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for name, settings in _DECODER_SETTINGS.items():
        asked = {**settings, "do_sample": False, "details": True}
        found = _answers(ours, [{"inputs": text, "parameters": asked} for text in prompts], twice=name == "greedy")
        for text, answer in zip(prompts, found, strict=False):
            if "error" in answer:
                return f"{name}: {answer['error']}"
            tokens = names(text, return_tensors="pt")
            tokens.pop("token_type_ids", None)
            with torch.no_grad():
                output = model.generate(**tokens, do_sample=False, **settings)
            wanted = output[0, tokens["input_ids"].shape[1] :].tolist()
            got = [token["id"] for token in answer["details"]["tokens"]]
            if got != wanted:
                return f"{name}: {got} instead of {wanted}"
    return ""
