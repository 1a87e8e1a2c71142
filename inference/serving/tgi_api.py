"""TGI's routes: /, /generate, /generate_stream and /info, for its clients and Hugging Face's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference.decoders.settings import Limits
from inference.records.requests import InferenceRequest
from inference.serving.forms import Events, OwnEvents, as_object
from inference.tasks.pipeline import Pipeline
from inference.tasks.tasks import Answer
from promotion.errors import Invalid


class TgiForm:
    """A request to TGI's routes; `listed` answers with a list, as TGI's `/` does."""

    def __init__(self, body: Any, *, listed: bool, stream: bool | None = None) -> None:
        """Parse a request body of TGI's API.

        Args:
            body: The decoded JSON.
            listed: Answer with a list, as POST / does.
            stream: Replaces the body's `stream`; None keeps it.

        Raises:
            Invalid: `inputs` is missing.
        """
        value = dict(as_object(body))
        if "inputs" not in value:
            raise Invalid("inputs", "is missing: a request needs its text there.")
        if stream is not None:
            value["stream"] = stream
        if not value.get("stream"):
            value.pop("stream", None)
        self.record, self._listed = value, listed

    def whole(self, asked: InferenceRequest, answers: Sequence[Answer], value: Any) -> Any:
        """Return TGI's object for each text; encoder-decoders use the same field as decoders."""
        found = [_answered(answer) for answer in answers]
        return found if self._listed or asked.many else found[0]

    def events(self, asked: InferenceRequest, *, lines: bool) -> Events:
        """Return the stream's form: server-sent events."""
        return OwnEvents(asked, lines=False)

    def name_of(self, field: str) -> str:
        """Return the field's name unchanged."""
        return field


def _answered(answer: Answer) -> dict[str, Any]:
    fields = answer.fields
    if "generated_texts" in fields and "generated_text" not in fields:
        return {"generated_text": fields["generated_texts"][0]}
    if "generated_text" not in fields:
        # Labels have no text.
        return dict(fields)
    named = ("generated_text", "details")
    return {name: fields[name] for name in named if name in fields}


def info(pipeline: Pipeline, limits: Limits | None, most_requests: int) -> dict[str, Any]:
    """Return the body of TGI's /info."""
    description = pipeline.task.description
    found = {
        "model_id": pipeline.approval_id or pipeline.task.name,
        "model_sha": None,
        "model_dtype": f"torch.{description.dtype}",
        "model_device_type": description.device.split(":")[0],
        "model_pipeline_tag": pipeline.task.name,
        "max_concurrent_requests": most_requests,
        "max_best_of": 1,
        "max_stop_sequences": 16,
        "version": "promotion",
        "engine": description.name,
    }
    if limits is not None:
        found |= {
            "max_input_tokens": limits.input_length,
            "max_input_length": limits.input_length,
            "max_total_tokens": limits.total_tokens,
            "max_batch_total_tokens": limits.batch_total_tokens,
            "max_batch_prefill_tokens": limits.prefill_tokens,
        }
    return found
