"""On the schedule of `[inference] schedule`: announce a run of each live model, in each environment.

One rule invokes this function, for any number of groups. Each event starts the inference state machine of its environment,
which may be in another account.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.shared.dependencies import client, config, ledger, logger
from lambdas.shared.variables import variables
from promotion import names
from promotion.domain.model import EnvironmentState

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
MOST_ENTRIES = 10
# The number of tries for entries that the bus refuses; accepted ones are put once.
TRIES = 3


def handler(event: dict[str, object], context: object) -> dict[str, int]:
    """Announce the runs that are due.

    Raises:
        RuntimeError: the bus refused some; all others were announced.
    """
    unreadable: list[str] = []
    due = [state for state in ledger().environments(unreadable) if _is_due(state)]
    for group in unreadable:
        logger.error("run not scheduled: its states can't be read", extra={"model_package_group": group})
    refused = sum(_announce(due[start : start + MOST_ENTRIES]) for start in range(0, len(due), MOST_ENTRIES))
    logger.info("runs scheduled", extra={"runs": len(due) - refused, "refused": refused})
    if refused:
        raise RuntimeError(f"the bus refused {refused} of {len(due)} runs")
    return {"runs": len(due)}


def _is_due(state: EnvironmentState) -> bool:
    return state.live is not None and config().governs(state.group) and state.name in config().environment_names


def _announce(states: list[EnvironmentState]) -> int:
    """Put one event for each state; return how many the bus refused in the end."""
    entries: list[PutEventsRequestEntryTypeDef] = [
        {
            "Source": names.SCHEDULE_SOURCE,
            "DetailType": names.RUN_SCHEDULED,
            "Detail": json.dumps({"model_package_group": state.group, "environment": state.name}),
            "EventBusName": variables().event_bus_name,
        }
        for state in states
    ]
    for _ in range(TRIES):
        try:
            answer = client("events").put_events(Entries=entries)
        except (BotoCoreError, ClientError):
            # The client has already retried; the other batches are still announced.
            logger.exception("runs not announced", extra={"runs": len(entries)})
            break
        if not answer["FailedEntryCount"]:
            return 0
        entries = [entry for entry, said in zip(entries, answer["Entries"], strict=True) if said.get("ErrorCode")]
    return len(entries)
