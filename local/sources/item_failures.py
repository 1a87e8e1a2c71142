"""The items of a batch that a function reports as failed, by ReportBatchItemFailures."""

from __future__ import annotations

import json
from collections.abc import Collection


def reported(answer: bytes, items: Collection[str]) -> set[str]:
    """Return the ids that a function's answer reports as failed; all of `items` if the answer is invalid.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    try:
        failures = (json.loads(answer) or {}).get("batchItemFailures") or ()
        listed = {failure["itemIdentifier"] for failure in failures}
    except (ValueError, TypeError, KeyError, AttributeError):
        return set(items)
    return listed if listed <= set(items) else set(items)
