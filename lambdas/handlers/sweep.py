"""Every few minutes: registrations whose event was lost, artifacts that a job hashes, requests whose time is over, reminders."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError

from lambdas.shared.dependencies import client, config, count, installed_at, ledger, logger, now, recorder, setting
from promotion import names
from promotion.aws.artifacts import MISSING
from promotion.aws.registry import is_gone
from promotion.domain.model import EnvironmentState
from promotion.errors import IntegrityError, PromotionError
from promotion.workflows.commands import KeepTime, RecordRemoved

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import ModelPackageSummaryTypeDef

Subject = TypeVar("Subject")

# A registration younger than this is still on its way by its own event.
GRACE = timedelta(minutes=2)
# A registration that isn't recorded after this is too much for the function: a job reads its artifact.
TRIED_FOR = timedelta(hours=1)
# How many of a group's newest packages are looked at: a lost event is minutes old, not years.
LOOKED_AT = 20


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    broken: list[tuple[str, Exception]] = []
    found = sum(_each(_find_lost, group, group, broken) for group in _governed_groups())
    unreadable: list[str] = []
    states = [state for state in ledger().environments(unreadable) if state.pending is not None]
    count(names.OLDEST_REQUEST_METRIC, _oldest_hours(states))
    timed = sum(_each(_keep_time, state, state.group, broken) for state in states)
    for state in states:
        _each(_look_for, state, state.group, broken)
    broken += [(group, IntegrityError(f"{group}: its states can't be read.")) for group in dict.fromkeys(unreadable)]
    for group, error in broken:
        logger.error(
            "group not swept", extra={"model_package_group": group, "reason": f"{type(error).__name__}: {error}"}
        )
    logger.info("swept", extra={"registrations_found": found, "requests_timed": timed, "groups_broken": len(broken)})
    if broken:
        # Only now, when all others have been seen to: the alarm of this function's errors tells.
        raise broken[0][1]
    return {"registrations_found": found, "requests_timed": timed}


def _each(act: Callable[[Subject], int], subject: Subject, group: str, broken: list[tuple[str, Exception]]) -> int:
    """Do something for one group; what goes wrong is put into `broken`, and is no matter of the other groups."""
    try:
        return act(subject)
    except Exception as error:  # noqa: BLE001 - raised again once all others have been seen to
        broken.append((group, error))
        return 0


def _governed_groups() -> list[str]:
    pages = client("sagemaker").get_paginator("list_model_package_groups").paginate()
    found = [summary["ModelPackageGroupName"] for page in pages for summary in page["ModelPackageGroupSummaryList"]]
    return [group for group in found if config().governs(group)]


def _newest_pending(group: str) -> Iterator[ModelPackageSummaryTypeDef]:
    """The newest packages of a group that wait for approval; with a filter, a page may be empty and still not the last."""
    pages = (
        client("sagemaker")
        .get_paginator("list_model_packages")
        .paginate(
            ModelPackageGroupName=group,
            ModelApprovalStatus=names.PENDING,
            SortBy="CreationTime",
            SortOrder="Descending",
            PaginationConfig={"PageSize": LOOKED_AT},
        )
    )
    yield from itertools.islice((summary for page in pages for summary in page["ModelPackageSummaryList"]), LOOKED_AT)


def _find_lost(group: str) -> int:
    lost = 0
    for summary in _newest_pending(group):
        known = ledger().version(group, summary["ModelPackageVersion"])
        made = summary["CreationTime"]
        is_lost = known is None and made >= installed_at() and now() - made > GRACE
        # The end of a job may be told by an event that was lost, and what failed is to be tried again.
        is_hashed = known is not None and known.package.hashing
        # An artifact that was missing may have been put there since; of that no event tells.
        is_mended = known is not None and MISSING in known.package.problem
        if is_lost or is_hashed or is_mended:
            detail = {"ModelPackageArn": summary["ModelPackageArn"], "ModelPackageGroupName": group}
            client("lambda").invoke(
                FunctionName=setting(names.REGISTERED_FUNCTION),
                InvocationType="Event",
                Payload=json.dumps(
                    {
                        "id": "sweep",
                        "detail": detail,
                        "hashing": is_hashed,
                        # The function was tried before, and ended or was ended with nothing recorded.
                        "by_job": is_lost and now() - summary["CreationTime"] > TRIED_FOR,
                    }
                ).encode(),
            )
        lost += is_lost
    return lost


def _oldest_hours(states: Sequence[EnvironmentState]) -> float:
    """Age of the oldest open request; 0 where there is none."""
    return (
        max((now() - state.pending_since) / timedelta(hours=1) for state in states if state.pending_since)
        if states
        else 0
    )


def _look_for(state: EnvironmentState) -> int:
    """A package that was deleted while it waits for approval: no event tells of it."""
    known = ledger().version(state.group, state.pending or 0)
    if known is None or known.removed:
        return 0
    try:
        client("sagemaker").describe_model_package(ModelPackageName=known.package.arn)
        return 0
    except ClientError as error:
        if not is_gone(error):
            raise
    recorder().record(RecordRemoved(group=state.group, version=known.version))
    return 1


def _keep_time(state: EnvironmentState) -> int:
    """Only what is due is sent on, so that a quiet sweep writes nothing and asks nothing."""
    since, until = state.pending_since, state.pending_expires_at
    if since is None or until is None:
        return 0
    due = now() >= until or (not state.pending_reminded and now() >= since + (until - since) / 2)
    if not due:
        return 0
    try:
        receipt = recorder().record(KeepTime(environment=state))
    except PromotionError as error:
        logger.warning("request not timed", extra={"model_package_group": state.group, "reason": str(error)})
        return 0
    return len(receipt.events)
