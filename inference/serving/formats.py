"""A stream on the wire: server-sent events as TGI writes them, or JSON Lines as LMI does."""

from __future__ import annotations

import json
from typing import Any

from inference.decoders import Continuation, Piece
from inference.decoders.task import details, full_text

SSE_TYPE, LINES_TYPE = "text/event-stream", "application/jsonlines"


def server_sent(prompt: Continuation, piece: Piece, number: int) -> bytes:
    """One event; `number` counts from 1."""
    if piece.error:
        return b"data:" + dump({"error": piece.error, "error_type": "generation"}) + b"\n\n"
    last = piece.finish is not None
    event = {
        "index": number,
        "token": {"id": piece.id, "text": piece.text, "logprob": piece.logprob, "special": piece.special},
        "generated_text": full_text(prompt, piece) if last else None,
        "details": details(prompt, piece, number) if last else None,
    }
    return b"data:" + dump(event) + b"\n\n"


def json_line(prompt: Continuation, piece: Piece, number: int) -> bytes:
    """One line."""
    token: dict[str, Any] = {"id": piece.id, "text": piece.text, "log_prob": piece.logprob}
    if piece.special:
        token["special_token"] = True
    line: dict[str, Any] = {"token": token}
    if piece.error:
        token["log_prob"] = -1
        ended: dict[str, Any] = {
            "finish_reason": "error",
            "generated_tokens": None,
            "inputs": None,
            "error": piece.error,
        }
        line |= {"generated_text": "", "details": ended}
    elif piece.finish is not None:
        line["generated_text"] = full_text(prompt, piece)
        ended = {"finish_reason": piece.finish, "generated_tokens": number, "inputs": prompt.text}
        line["details"] = ended
    return dump(line) + b"\n"


def dump(value: Any) -> bytes:
    """Return a value as UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False).encode()
