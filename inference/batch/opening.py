"""A loaded model becomes the task that it does."""

from __future__ import annotations

from collections.abc import Mapping

from inference.decoders.opening import text_generation
from inference.engines.ctranslate2_engine import ctranslate2_engine
from inference.models.loading import (
    CTRANSLATE2,
    INFERENCE_DTYPE,
    INFERENCE_ENGINE,
    TEXT_GENERATION,
    TEXT_TO_TEXT,
    Loaded,
)
from inference.tasks.tasks import Task, TextToText, ZeroShot


def task_for(loaded: Loaded, environment: Mapping[str, str] | None = None) -> Task:
    """The task that a loaded model does, within the limits that `environment` names.

    Raises:
        Invalid: a limit that is no number, beyond the model, or at odds with another; an engine or a precision that this
            machine does not have.
    """
    environment = environment or {}
    if loaded.task == TEXT_GENERATION:
        return text_generation(loaded, environment)
    if environment.get(INFERENCE_ENGINE, "").strip() == CTRANSLATE2:
        compute_type = environment.get(INFERENCE_DTYPE, "").strip() or str(loaded.model.dtype).removeprefix("torch.")
        return TextToText(loaded, ctranslate2_engine(loaded, compute_type))
    return TextToText(loaded) if loaded.task == TEXT_TO_TEXT else ZeroShot(loaded)
