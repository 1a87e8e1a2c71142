"""Messages of the queues that start functions."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.shared.dependencies import client, logger


def retry_after(queue_url: str, receipt: str, seconds: int) -> None:
    """Make a message visible again soon; if that call fails, it is redelivered after the queue's visibility timeout."""
    try:
        client("sqs").change_message_visibility(QueueUrl=queue_url, ReceiptHandle=receipt, VisibilityTimeout=seconds)
    except (BotoCoreError, ClientError):
        logger.exception("message waits for the queue")
