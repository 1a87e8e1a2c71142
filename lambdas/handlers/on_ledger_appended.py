"""Wake the projector for a group whose head has moved (by the ledger's stream) or whose delayed mail is due.
The order of events comes from the ledger, not from this function.
"""

from __future__ import annotations

import json
from typing import Any

from lambdas.shared.dependencies import client, count, logger
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.ledger_table.ledger_items import group_of


def handler(event: dict[str, Any], context: object) -> dict[str, object]:
    """Report the first record that could not be queued, so that the stream, or the queue, continues from there."""
    for record in event["Records"]:
        if "dynamodb" in record:
            item, group, body, unique = _moved(record)
        else:
            # From the delayed queue, which has no order; the FIFO wake queue lets only one projector at a time work on a group.
            item, body, unique = record["messageId"], json.loads(record["body"]), record["messageId"]
            group = body["group"]
        try:
            client("sqs").send_message(
                QueueUrl=variables().wake_queue_url,
                MessageBody=json.dumps(body),
                MessageGroupId=group,
                MessageDeduplicationId=unique,
            )
        except Exception:  # noqa: BLE001 - whatever it was, the stream has to come back to this record
            logger.exception("wake-up not queued", extra={"model_package_group": group})
            count(names.REFUSED_WAKE_UPS_METRIC, 1)
            return {"batchItemFailures": [{"itemIdentifier": item}]}
        logger.info("projector woken", extra={"model_package_group": group, "sequence": body.get("sequence", 0)})
    return {"batchItemFailures": []}


def _moved(record: dict[str, Any]) -> tuple[str, str, dict[str, Any], str]:
    """Return a stream record's number, its group, the message about it, and the message's deduplication id."""
    keys, number = record["dynamodb"]["Keys"], record["dynamodb"]["SequenceNumber"]
    group = group_of(keys["pk"]["S"])
    image = record["dynamodb"].get("NewImage") or {}
    sequence = image.get("sequence", {}).get("N", number)
    return number, group, {"group": group, "sequence": int(sequence)}, f"{group}-{sequence}"
