"""Construction of a loaded model's task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from inference.decoders.opening import text_generation
from inference.errors import ModelBroken
from inference.models.configuration import TEXT_GENERATION, TEXT_TO_TEXT, ZERO_SHOT
from inference.models.loading import Loaded
from inference.tasks.ctranslate2 import requested_engine
from inference.tasks.tasks import Task, TextToText
from inference.tasks.zero_shot import ZeroShot

log = logging.getLogger("inference")

# Short, so that the start is fast. Decoders answer a first text where they are opened.
_FIRST: Mapping[str, Mapping[str, Any]] = {
    TEXT_TO_TEXT: {"text_inputs": "Hello", "max_new_tokens": 2},
    ZERO_SHOT: {"sequences": "Hello", "candidate_labels": ["first"]},
}


def task_for(loaded: Loaded, environment: Mapping[str, str] | None = None) -> Task:
    """Return a loaded model's task with the limits in `environment`, after it has answered a first record.

    Raises:
        Invalid: a limit is no number, exceeds the model, or contradicts another; or this machine doesn't have an engine
            or a precision.
        ModelBroken: the model fails on the first record.
    """
    environment = environment or {}
    if loaded.task == TEXT_GENERATION:
        return text_generation(loaded, environment)
    task = (
        TextToText(loaded, requested_engine(loaded, environment)) if loaded.task == TEXT_TO_TEXT else ZeroShot(loaded)
    )
    _answer_first(task)
    return task


def _answer_first(task: Task) -> None:
    request = task.parse(_FIRST[task.name], None)
    try:
        [[answer]] = task.answer([request])
    except Exception as error:
        log.exception("the model fails on a first record")
        raise ModelBroken(f"The model loads, and does not answer: {type(error).__name__}: {error}") from error
    if answer.error:
        raise ModelBroken(f"The model loads, and does not answer: {answer.error}.")
