"""The record that Lambda sends to the on-failure destination of an asynchronous invocation: event and result.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from local.runtime.function import Outcome, Settings


def record(settings: Settings, payload: bytes, outcome: Outcome) -> str:
    """Return the record of an event that failed permanently."""
    return json.dumps(
        {
            "version": "1.0",
            "timestamp": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": f"{settings.arn}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": settings.retries + 1,
            },
            "requestPayload": _value(payload),
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": outcome.error or "Unhandled",
            },
            "responsePayload": _value(outcome.payload),
        }
    )


def _value(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")
