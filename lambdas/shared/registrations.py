"""The queue of registrations and changes of packages, which are processed a few at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lambdas.shared.dependencies import client
from lambdas.shared.variables import variables


def read_anew(event: Mapping[str, object]) -> None:
    """Queue a package, to be read by lambdas/handlers/on_model_registered.py."""
    client("sqs").send_message(
        QueueUrl=variables().registrations_queue_url, MessageBody=json.dumps(event, separators=(",", ":"))
    )
