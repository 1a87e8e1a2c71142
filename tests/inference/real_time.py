"""A real-time request answered at once, without a server around it."""

from __future__ import annotations

from typing import Any

from inference.records.counts import Run
from inference.tasks.pipeline import Begun, Pipeline


def answer_record(pipeline: Pipeline, value: Any) -> tuple[Any, Run]:
    """Return the body of the answer, and its counts."""
    begun = Begun()
    request = pipeline.parse_record(value)
    return pipeline.finish_record(request, pipeline.task.answer([request])[0], begun)
