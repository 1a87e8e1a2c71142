"""Artifacts that are too large for the function that prepares a run, refused with their size before its time ends."""

from __future__ import annotations

import math

from promotion.aws.s3.artifact_copies import SPARE_S, check_packable
from promotion.client.folder_artifact import is_folder
from promotion.domain.model import VersionState
from promotion.errors import Refused
from promotion.formatting import size


def check_sizes(state: VersionState | None) -> None:
    """Check that each folder of files is small enough to be packed, by the size that registration found.

    Raises:
        Refused: An artifact is too large; the error names its size and the limit.
    """
    for container in state.package.containers if state else ():
        if is_folder(container.model_data_url):
            check_packable(container.model_data_url, container.size)


def check_time(context: object, read: int) -> None:
    """Check that time is left while an artifact is read.

    Args:
        context: The context of the call.
        read: Bytes read so far.

    Raises:
        Refused: No time is left.
    """
    if remaining_s(context) < SPARE_S:
        raise Refused(
            f"The artifact is too large to be compared within the time of the function that prepares a run: {size(read)} were "
            "read. Report an evaluation of your own."
        )


def remaining_s(context: object) -> float:
    """Return how many seconds the call may still take; infinite outside of Lambda."""
    left = getattr(context, "get_remaining_time_in_millis", None)
    return math.inf if left is None else left() / 1000
