"""The faults that a call to AWS can have, and the messages between functions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

Mode = Literal["killed before", "killed after", "throttled", "answer lost"]
MODES: tuple[Mode, ...] = ("killed before", "killed after", "throttled", "answer lost")


@dataclass
class Message:
    body: str
    group: str
    deduplication: str
    receives: int = 0


@dataclass
class Fault:
    """A fault of the call number `at`, counted from when it is armed."""

    at: int
    mode: Mode
    seen: int = 0
    hit: str = ""


def from_queue(event: dict[str, Any], tries: int) -> dict[str, Any]:
    """An event as the queue of registrations gives it to its function."""
    attributes = {"ApproximateReceiveCount": str(tries + 1)}
    return {"Records": [{"messageId": "m", "receiptHandle": "r", "body": json.dumps(event), "attributes": attributes}]}


def made_to_fail(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "made to fail"}}, operation)
