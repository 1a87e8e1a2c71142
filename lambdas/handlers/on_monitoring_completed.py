"""A SageMaker processing job ended: record violations of a configured Model Monitor schedule as drift."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from lambdas.shared.dependencies import client, config, logger, recorder
from promotion.aws.s3.artifacts import read_json
from promotion.client.artifact import split_uri
from promotion.config.settings import Monitor
from promotion.errors import Invalid, PromotionError
from promotion.formatting import counted, listed, one_line
from promotion.workflows.commands import RecordMonitoring

# Exit messages of Model Monitor's containers:
# https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-interpreting-results.html
VIOLATIONS_FOUND = "CompletedWithViolations"
VIOLATIONS_FILE = "constraint_violations.json"
CHECKS_NAMED = 5


class JobChange(Struct, frozen=True, kw_only=True):
    """The part of SageMaker's event detail that is read here."""

    ProcessingJobName: str


class Examined(Struct, frozen=True, kw_only=True):
    """Result of a monitoring execution: violations, a sentence about them, and the report's address."""

    violations: int
    reason: str = ""
    report: str = ""


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    try:
        change = msgspec.convert(event.get("detail"), JobChange)
    except msgspec.ValidationError as error:
        logger.error("event refused", extra={"reason": str(error), "event_id": event.get("id")})
        return {"refused": str(error)}
    # The event may lack the schedule and the exit message; the job has both.
    job = client("sagemaker").describe_processing_job(ProcessingJobName=change.ProcessingJobName)
    schedule = str(job.get("MonitoringScheduleArn") or "").rpartition("/")[2]
    followed = [
        m for m in config().drift.monitors if schedule and fnmatch.fnmatchcase(schedule.lower(), m.schedule.lower())
    ]
    if not followed or job.get("ProcessingJobStatus") != "Completed":
        return {"ignored": "no execution of a monitor that is followed"}
    sequences = [_record(monitor, schedule, examined(job, monitor)) for monitor in followed]
    return {"sequences": sequences}


def examined(job: Mapping[str, object], monitor: Monitor) -> Examined:
    """Read the result of a monitoring execution."""
    message = str(job.get("ExitMessage") or "")
    if not message.startswith(VIOLATIONS_FOUND):
        return Examined(violations=0)
    said = one_line(message.removeprefix(VIOLATIONS_FOUND).lstrip(": "), 300)
    place = next(_reports(job), "")
    if not place or monitor.bucket is None or split_uri(place, "report")[0] != monitor.bucket:
        return Examined(violations=1, reason=f"Model Monitor: {said}", report=place)
    try:
        document, _ = read_json(client("s3"), place, "report")
        violations = [found for found in document["violations"] if isinstance(found, dict)]
    except (Invalid, KeyError, TypeError) as error:
        logger.warning("report not read", extra={"report": place, "reason": str(error)})
        return Examined(violations=1, reason=f"Model Monitor: {said}", report=place)
    checks = [
        f"{one_line(str(v.get('constraint_check_type', 'check')), 60)} on {one_line(str(v.get('feature_name', '?')), 60)}"
        for v in violations[:CHECKS_NAMED]
    ]
    more = [f"{len(violations) - CHECKS_NAMED} more"] if len(violations) > CHECKS_NAMED else []
    reason = f"Model Monitor found {counted(len(violations), 'violation')}: {listed([*checks, *more])}."
    return Examined(violations=max(1, len(violations)), reason=reason, report=place)


def _reports(job: Mapping[str, Any]) -> Iterator[str]:
    """Yield the addresses of violation reports among the job's outputs."""
    for output in (job.get("ProcessingOutputConfig") or {}).get("Outputs") or ():
        folder = str((output.get("S3Output") or {}).get("S3Uri") or "")
        if folder.startswith("s3://"):
            yield f"{folder.rstrip('/')}/{VIOLATIONS_FILE}"


def _record(monitor: Monitor, schedule: str, found: Examined) -> int:
    try:
        receipt = recorder().record(
            RecordMonitoring(
                group=monitor.group,
                environment=monitor.environment,
                source=f"monitor {schedule}",
                violations=found.violations,
                reason=found.reason,
                report=found.report,
            )
        )
    except PromotionError as error:
        logger.error("monitoring not recorded", extra={"schedule": schedule, "reason": str(error)})
        return 0
    logger.info(
        "monitoring recorded",
        extra={
            "schedule": schedule,
            "violations": found.violations,
            "sequence": receipt.sequence,
            "note": receipt.note,
        },
    )
    return receipt.sequence
