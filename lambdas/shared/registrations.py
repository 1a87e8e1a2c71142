"""The queue through which registrations and changes of packages come, a few at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lambdas.shared.dependencies import client, setting
from promotion import names


def read_anew(event: Mapping[str, Any]) -> None:
    """Have a package read, by lambdas/handlers/on_model_registered.py, when its turn comes."""
    client("sqs").send_message(
        QueueUrl=setting(names.REGISTRATIONS_QUEUE_URL), MessageBody=json.dumps(event, separators=(",", ":"))
    )
