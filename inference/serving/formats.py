"""The wire formats of a stream: server-sent events like TGI's, or JSON Lines like LMI's."""

from __future__ import annotations

import json
from typing import Any

from inference.decoders import GenerationRequest, TokenEvent
from inference.decoders.task import details, full_text

SSE_TYPE, LINES_TYPE = "text/event-stream", "application/jsonlines"


def server_sent(prompt: GenerationRequest, event: TokenEvent, number: int) -> bytes:
    """Return an event of the stream as a server-sent event; `number` counts from 1."""
    if event.error:
        return b"data:" + dump({"error": event.error, "error_type": "generation"}) + b"\n\n"
    last = event.finish is not None
    told = {
        "index": number,
        "token": {"id": event.id, "text": event.text, "logprob": event.logprob, "special": event.special},
        "generated_text": full_text(prompt, event) if last else None,
        "details": details(prompt, event, number) if last else None,
    }
    return b"data:" + dump(told) + b"\n\n"


def json_line(prompt: GenerationRequest, event: TokenEvent, number: int) -> bytes:
    """Return an event of the stream as a JSON line."""
    token: dict[str, Any] = {"id": event.id, "text": event.text, "log_prob": event.logprob}
    if event.special:
        token["special_token"] = True
    line: dict[str, Any] = {"token": token}
    if event.error:
        token["log_prob"] = -1
        ended: dict[str, Any] = {
            "finish_reason": "error",
            "generated_tokens": None,
            "inputs": None,
            "error": event.error,
        }
        line |= {"generated_text": "", "details": ended}
    elif event.finish is not None:
        line["generated_text"] = full_text(prompt, event)
        ended = {"finish_reason": event.finish, "generated_tokens": number, "inputs": prompt.text}
        line["details"] = ended
    return dump(line) + b"\n"


def dump(value: Any) -> bytes:
    """Return a value as UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False).encode()
