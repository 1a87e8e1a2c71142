"""Every few minutes: find registrations whose event was lost, continue hashing jobs, expire requests, send reminders.

Only recently registered versions and open requests are read; once a day all states are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.shared.dependencies import client, config, count, installed_at, ledger, logger, now, recorder
from lambdas.shared.registrations import read_anew
from promotion import names
from promotion.aws.s3.artifacts import MISSING
from promotion.aws.sagemaker.registry import is_gone
from promotion.domain import freezes
from promotion.domain.model import EnvironmentState, VersionState
from promotion.errors import IntegrityError, PromotionError
from promotion.workflows.commands import KeepTime, RecordRemoved

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import ModelPackageSummaryTypeDef

Subject = TypeVar("Subject")

# A younger registration may still be processed by its own event.
GRACE = timedelta(minutes=2)
# A registration that isn't recorded after this time is too large for the function: a job reads its artifact.
TRIED_FOR = timedelta(hours=1)
# The age of the oldest packages that are read: a lost event is minutes old, unless the sweep did not run for days.
LOST_FOR = timedelta(days=14)
PAGE = 100
# In these first minutes of a day (UTC) all states are read: the index of open groups is updated only by a group's appends.
WHOLE_WITHIN = timedelta(minutes=5)


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    broken: list[tuple[str, Exception]] = []
    looked: set[str] = set()
    found = _find_all_lost(looked, broken)
    unreadable: list[str] = []
    states = _open_states(unreadable)
    count(names.OLDEST_REQUEST_METRIC, _oldest_hours(states))
    timed = sum(_each(_keep_time, state, state.group, broken) for state in states)
    for state in states:
        _each(lambda each: _look_for(each, looked), state, state.group, broken)
    broken += [(group, IntegrityError(f"{group}: its states can't be read.")) for group in dict.fromkeys(unreadable)]
    for group, error in broken:
        logger.error(
            "group not swept", extra={"model_package_group": group, "reason": f"{type(error).__name__}: {error}"}
        )
    logger.info("swept", extra={"registrations_found": found, "requests_timed": timed, "groups_broken": len(broken)})
    if broken:
        # Raised only after all other groups are done, for the alarm on this function's errors.
        raise broken[0][1]
    return {"registrations_found": found, "requests_timed": timed}


def _each(act: Callable[[Subject], int], subject: Subject, group: str, broken: list[tuple[str, Exception]]) -> int:
    """Do something for one group; an error is put into `broken`, and doesn't affect the other groups."""
    try:
        return act(subject)
    except Exception as error:  # noqa: BLE001 - raised again once all others have been seen to
        broken.append((group, error))
        return 0


def _open_states(unreadable: list[str]) -> list[EnvironmentState]:
    time = now()
    if time - time.replace(hour=0, minute=0, second=0, microsecond=0) < WHOLE_WITHIN:
        return [state for state in ledger().environments(unreadable) if state.pending is not None]
    return list(ledger().open_environments(unreadable))


def _find_all_lost(looked: set[str], broken: list[tuple[str, Exception]]) -> int:
    """Look for recently registered versions that are pending approval; their ARNs are put into `looked`."""
    found = 0
    try:
        for summary in _lately_pending():
            group = summary["ModelPackageGroupName"]
            looked.add(summary["ModelPackageArn"])
            if config().governs(group):
                found += _each(_find_lost, summary, group, broken)
    except (ClientError, BotoCoreError) as error:
        # Requests are still checked for reminders and expiry.
        broken.append(("the registry", error))
    return found


def _lately_pending() -> Iterator[ModelPackageSummaryTypeDef]:
    """Yield the recent packages of all groups that are pending approval, the newest first."""
    pages = (
        client("sagemaker")
        .get_paginator("list_model_packages")
        .paginate(
            ModelPackageType="Versioned",
            ModelApprovalStatus=names.PENDING,
            SortBy="CreationTime",
            SortOrder="Descending",
            PaginationConfig={"PageSize": PAGE},
        )
    )
    # With a filter, a page may be empty and still not the last.
    summaries = (summary for page in pages for summary in page["ModelPackageSummaryList"])
    yield from itertools.takewhile(lambda summary: now() - summary["CreationTime"] < LOST_FOR, summaries)


def _find_lost(summary: ModelPackageSummaryTypeDef) -> int:
    known = ledger().version(summary["ModelPackageGroupName"], summary["ModelPackageVersion"])
    made = summary["CreationTime"]
    is_lost = known is None and made >= installed_at() and now() - made > GRACE
    if is_lost or (known is not None and _is_unfinished(known)):
        # By a job if the function has been tried for so long and recorded nothing.
        _register_again(
            summary["ModelPackageArn"],
            summary["ModelPackageGroupName"],
            hashing=known is not None and known.package.hashing,
            by_job=is_lost and now() - made > TRIED_FOR,
            lost=summary["ModelPackageVersion"] if is_lost else None,
        )
    return int(is_lost)


def _is_unfinished(known: VersionState) -> bool:
    """Return True if the artifact has to be read again without waiting for an event.

    The event about the end of a job may be lost, a failed job is retried, and a missing artifact may have been uploaded since.
    """
    return known.package.hashing or MISSING in known.package.problem


def _register_again(arn: str, group: str, *, hashing: bool, by_job: bool, lost: int | None = None) -> None:
    """Queue a package; `lost` is its version if it is not in the ledger, because the queue may already have it."""
    detail = {"ModelPackageArn": arn, "ModelPackageGroupName": group}
    event = {"id": "sweep", "detail": detail, "hashing": hashing, "by_job": by_job}
    read_anew(event if lost is None else {**event, "lost": lost})


def _oldest_hours(states: Sequence[EnvironmentState]) -> float:
    """Return the age of the oldest open request in hours; 0 without one."""
    return (
        max((now() - state.pending_since) / timedelta(hours=1) for state in states if state.pending_since)
        if states
        else 0
    )


def _look_for(state: EnvironmentState, looked: set[str]) -> int:
    """Check a pending package: record it if it was deleted, and queue it if its artifact still has to be read."""
    known = ledger().version(state.group, state.pending or 0)
    if known is None or known.removed:
        return 0
    if _is_unfinished(known) and known.package.arn not in looked:
        _register_again(known.package.arn, state.group, hashing=known.package.hashing, by_job=False)
    try:
        client("sagemaker").describe_model_package(ModelPackageName=known.package.arn)
        return 0
    except ClientError as error:
        if not is_gone(error):
            raise
    recorder().record(RecordRemoved(group=state.group, version=known.version))
    return 1


def _keep_time(state: EnvironmentState) -> int:
    """Record the time only for a request that is due, so that other sweeps write nothing."""
    since, until = state.pending_since, state.pending_expires_at
    if since is None or until is None:
        return 0
    windows = freezes.windows_of(config(), state.name)
    reminder_due = not state.pending_reminded and now() >= freezes.halfway(since, until, windows)
    if not (reminder_due or now() >= until):
        return 0
    try:
        receipt = recorder().record(KeepTime(environment=state))
    except PromotionError as error:
        logger.warning("request not timed", extra={"model_package_group": state.group, "reason": str(error)})
        return 0
    return len(receipt.events)
