"""The ledger's stream said that a group's head moved: wake the projector for that group. Order comes from the ledger, not
from here.
"""

from __future__ import annotations

import json
from typing import Any

from lambdas.shared.dependencies import client, count, logger, setting
from promotion import names
from promotion.aws.ledger import group_of


def handler(event: dict[str, Any], context: object) -> dict[str, object]:
    """Reports the first record that could not be queued, so that the stream goes on from there."""
    for record in event["Records"]:
        keys = record["dynamodb"]["Keys"]
        group = group_of(keys["pk"]["S"])
        image = record["dynamodb"].get("NewImage") or {}
        sequence = image.get("sequence", {}).get("N", record["dynamodb"]["SequenceNumber"])
        try:
            client("sqs").send_message(
                QueueUrl=setting(names.WAKE_QUEUE_URL),
                MessageBody=json.dumps({"group": group, "sequence": int(sequence)}),
                MessageGroupId=group,
                MessageDeduplicationId=f"{group}-{sequence}",
            )
        except Exception:  # noqa: BLE001 - whatever it was, the stream has to come back to this record
            logger.exception("wake-up not queued", extra={"model_package_group": group})
            count(names.REFUSED_WAKE_UPS_METRIC, 1)
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
        logger.info("projector woken", extra={"model_package_group": group, "sequence": int(sequence)})
    return {"batchItemFailures": []}
