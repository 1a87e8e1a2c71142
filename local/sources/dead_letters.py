"""Message attributes of an event that a rule could not deliver, as EventBridge sets them."""

from __future__ import annotations

from typing import Any


def undelivered_event(rule_arn: str, target_arn: str, reason: str) -> dict[str, Any]:
    """Return the attributes of the message in the dead-letter queue; its body is the event.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    """
    said = {
        "RULE_ARN": rule_arn,
        "TARGET_ARN": target_arn,
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": reason or "-",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
        "RETRY_ATTEMPTS": "0",
    }
    return {name: {"DataType": "String", "StringValue": value} for name, value in said.items()}
