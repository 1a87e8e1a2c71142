"""A loaded model becomes the task that it does."""

from __future__ import annotations

from collections.abc import Mapping

from inference.decoders.opening import text_generation
from inference.models.loading import TEXT_GENERATION, TEXT_TO_TEXT, Loaded
from inference.tasks.tasks import Task, TextToText, ZeroShot


def task_for(loaded: Loaded, environment: Mapping[str, str] | None = None) -> Task:
    """The task that a loaded model does, within the limits that `environment` names.

    Raises:
        Invalid: a limit that is no number, beyond the model, or at odds with another.
    """
    if loaded.task == TEXT_GENERATION:
        return text_generation(loaded, environment or {})
    return TextToText(loaded) if loaded.task == TEXT_TO_TEXT else ZeroShot(loaded)
