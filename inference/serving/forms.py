"""Client protocols: parsing of request bodies, and the format of answers, streams and errors.

An error about an unsupported parameter names it as the client's own protocol does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from starlette.responses import Response

from inference.decoders import TokenEvent
from inference.records.json_lines import dump_line
from inference.records.requests import InferenceRequest
from inference.serving.formats import LINES_TYPE, SSE_TYPE, json_line, server_sent
from inference.tasks.tasks import Answer
from promotion.errors import Invalid


class Events(Protocol):
    """The wire format of a stream."""

    media_type: str

    def event(self, event: TokenEvent, number: int) -> bytes:
        """Return `event` as one event of the stream; `number` counts from 1."""
        ...

    def end(self) -> bytes:
        """Return the bytes that follow the last event."""
        ...


class Form(Protocol):
    """One request in a client protocol."""

    @property
    def record(self) -> Any:
        """The record for the pipeline."""
        ...

    def whole(self, asked: InferenceRequest, answers: Sequence[Answer], value: Any) -> Any:
        """Return the answer's body; `value` is the pipeline's own."""
        ...

    def events(self, asked: InferenceRequest, *, lines: bool) -> Events:
        """Return the stream's format; with `lines` as JSON Lines, if the protocol has them."""
        ...

    def name_of(self, field: str) -> str:
        """Return the protocol's own name for a field of the pipeline."""
        ...


class OwnForm:
    """The bodies of /invocations: the pipeline's records, TGI's and LMI's streams.

    `task_field` is the field that Hugging Face's clients read for summarization and translation. Clients that send
    JumpStart's `text_inputs` get JumpStart's `generated_texts`.
    """

    def __init__(self, record: Any, task_field: str | None = None) -> None:
        """Make the form of a record; see the class for `task_field`."""
        self.record, self._task_field = record, task_field

    def whole(self, asked: InferenceRequest, answers: Sequence[Answer], value: Any) -> Any:
        """Return the pipeline's value, or Hugging Face's rows for a record with `inputs`."""
        if self._task_field is None or not isinstance(self.record, dict) or self.record.get("inputs") is None:
            return value
        rows = [{self._task_field: text} for answer in answers for text in answer.fields["generated_texts"]]
        return rows or value

    def events(self, asked: InferenceRequest, *, lines: bool) -> Events:
        """Return the stream's form: server-sent events, or JSON Lines."""
        return OwnEvents(asked, lines=lines)

    def name_of(self, field: str) -> str:
        """Return the field's name unchanged."""
        return field


class OwnEvents:
    """TGI's server-sent events, or LMI's lines."""

    def __init__(self, asked: InferenceRequest, *, lines: bool) -> None:
        """Make the events of a request, as JSON Lines or server-sent events."""
        self.media_type = LINES_TYPE if lines else SSE_TYPE
        self._prompt, self._form = asked.prepared[0], json_line if lines else server_sent

    def event(self, event: TokenEvent, number: int) -> bytes:
        """Return one event; `number` counts from 1."""
        return self._form(self._prompt, event, number)

    def end(self) -> bytes:
        """Return nothing: these streams have no last event."""
        return b""


def problem(
    status: int,
    message: str,
    kind: str,
    headers: dict[str, str] | None = None,
    *,
    field: str = "",
    openai: bool = False,
) -> Response:
    """Return an error in TGI's or OpenAI's form; its type distinguishes overload from client errors."""
    value: dict[str, Any] = {"error": message, "error_type": kind}
    if openai:
        names = {"validation": "invalid_request_error", "overloaded": "rate_limit_error", "eula": "permission_error"}
        code = "context_length_exceeded" if status == 422 else None
        error = {"message": message, "type": names.get(kind, "server_error"), "param": field or None, "code": code}
        value, status = {"error": error}, 400 if status == 422 else status
        return json_response(value, status, headers)
    return Response(dump_line(value) + b"\n", status_code=status, media_type="application/json", headers=headers)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return JSON with null and true, and a line break, for clients that read line by line."""
    content = json.dumps(value, ensure_ascii=False).encode() + b"\n"
    return Response(content, status_code=status, media_type="application/json", headers=headers)


def as_object(value: Any) -> dict[str, Any]:
    """Return a body that is an object; raise Invalid for any other."""
    if not isinstance(value, dict):
        raise Invalid("", f"a request must be an object, not {type(value).__name__}.")
    return value
