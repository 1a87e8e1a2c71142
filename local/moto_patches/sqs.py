"""SQS: each message goes to one receiver, and no group of messages waits for one that is deleted already."""

from __future__ import annotations

import time
from typing import Any

from moto.sqs.models import Queue, SQSBackend

_WAIT_SECONDS = 1


def mend() -> None:
    """Replace moto's operations with the patched ones, which hold the lock under which moto adds messages."""
    receive, delete = SQSBackend.receive_message, Queue.delete_message

    def receive_locked(
        self: Any, queue_name: str, count: int, wait_seconds_timeout: int, *visibility: Any, **attributes: Any
    ) -> list[Any]:
        """Wait outside the lock. Unlocked, two receivers take the same message, and its group is blocked for good."""
        queue = self.get_queue(queue_name)
        end = time.monotonic() + wait_seconds_timeout
        while True:
            with queue._messages_lock:
                found: list[Any] = receive(self, queue_name, count, 0, *visibility, **attributes)
            if found or time.monotonic() >= end:
                return found
            queue.wait_for_messages(_WAIT_SECONDS)

    def delete_locked(self: Any, receipt_handle: str) -> None:
        with self._messages_lock:
            delete(self, receipt_handle)

    SQSBackend.receive_message = receive_locked
    Queue.delete_message = delete_locked
