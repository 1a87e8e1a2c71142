"""A loaded model becomes the task that it does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from inference.decoders.opening import text_generation
from inference.engines import TextEngine
from inference.engines.ctranslate2_engine import ctranslate2_engine
from inference.errors import ModelBroken
from inference.models.configuration import TEXT_GENERATION, TEXT_TO_TEXT, ZERO_SHOT
from inference.models.loading import CTRANSLATE2, INFERENCE_DTYPE, INFERENCE_ENGINE, Loaded
from inference.tasks.tasks import Task, TextToText, ZeroShot

log = logging.getLogger("inference")

# Short, so that the start takes no longer than it must. Decoders answer a first text where they are opened.
_FIRST: Mapping[str, Mapping[str, Any]] = {
    TEXT_TO_TEXT: {"text_inputs": "Hello", "max_new_tokens": 2},
    ZERO_SHOT: {"sequences": "Hello", "candidate_labels": ["first"]},
}


def task_for(loaded: Loaded, environment: Mapping[str, str] | None = None) -> Task:
    """The task that a loaded model does, within the limits that `environment` names; it has answered a first record.

    Raises:
        Invalid: a limit that is no number, beyond the model, or at odds with another; an engine or a precision that this
            machine does not have.
        ModelBroken: it fails on the first record.
    """
    environment = environment or {}
    if loaded.task == TEXT_GENERATION:
        return text_generation(loaded, environment)
    task = TextToText(loaded, _engine(loaded, environment)) if loaded.task == TEXT_TO_TEXT else ZeroShot(loaded)
    _answer_first(task)
    return task


def _engine(loaded: Loaded, environment: Mapping[str, str]) -> TextEngine | None:
    """The engine that `environment` asks for; None leaves the choice to the task."""
    if environment.get(INFERENCE_ENGINE, "").strip() != CTRANSLATE2:
        return None
    compute_type = environment.get(INFERENCE_DTYPE, "").strip() or str(loaded.model.dtype).removeprefix("torch.")
    return ctranslate2_engine(loaded, compute_type)


def _answer_first(task: Task) -> None:
    request = task.parse(_FIRST[task.name], None)
    try:
        [[answer]] = task.answer([request])
    except Exception as error:
        log.exception("the model fails on a first record")
        raise ModelBroken(f"The model loads, and does not answer: {type(error).__name__}: {error}") from error
    if answer.error:
        raise ModelBroken(f"The model loads, and does not answer: {answer.error}.")
