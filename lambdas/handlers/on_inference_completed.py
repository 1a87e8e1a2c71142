"""Record an inference run, or a team's own evaluation, with the metrics read from S3.

The event itself is not trusted. A reporter is identified only by the account, which EventBridge sets.
"""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from lambdas.shared.dependencies import client, config, count, logger, recorder
from lambdas.shared.reports import check_subject
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.s3.artifacts import Denied, read_json
from promotion.aws.sagemaker.runs import instance_times
from promotion.client.artifact import split_uri
from promotion.domain.metrics import evidence_of
from promotion.domain.model import Evidence
from promotion.errors import Invalid, PromotionError
from promotion.rendering.documents.costs import cost
from promotion.workflows.commands import RecordFailure, RecordInference, RecordUnmeasured

MOST_PICTURES, LONGEST_NAME = 20, 200
# A run is stored in its version's ledger item, twice, and DynamoDB limits an item to 400 KB: the addresses of its pictures have
# so many bytes in JSON, and its name so many characters.
PICTURES_BYTES = 6_000
RunId = Annotated[str, Meta(max_length=LONGEST_NAME)]


class RunRequest(Struct, frozen=True, kw_only=True):
    """The part of a run's input that is needed if the run failed before its first step."""

    group: str = ""


class RunReport(Struct, frozen=True, kw_only=True):
    """The trusted part of the detail of an `Inference Completed` event from a pipeline."""

    environment: str
    run_id: RunId
    status: str
    model_package_group: str = ""
    request: RunRequest = RunRequest()
    model_package_version: int | None = None
    metrics_uri: str = ""
    reason: str = ""
    error: object = None


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    try:
        report = msgspec.convert(event.get("detail"), RunReport)
        reporter = ""
        if event.get("source") == names.REPORT_SOURCE:
            report, reporter = _reported(report, event)
        if report.status == names.SKIPPED:
            return _unmeasured(report)
        evidence = read_evidence(report, reporter)
    except Denied:
        # The run completed, and this function lacks a right: tried again, and then heard of by alarm and dead-letter queue.
        logger.exception("metrics not readable", extra={"event_id": event.get("id")})
        raise
    except (Invalid, msgspec.ValidationError) as error:
        logger.error("run refused", extra={"reason": str(error), "event_id": event.get("id")})
        return {"refused": str(error)}
    if report.status != "Completed":
        # For the alarm of an environment whose machine, and its own numbers, are in another account.
        count(names.FAILED_RUNS_METRIC, 1, environment=report.environment)
    group, version = report.model_package_group or report.request.group, report.model_package_version
    try:
        if version is None:
            receipt = recorder().record(
                RecordFailure(
                    group=group,
                    environment=report.environment,
                    run_id=report.run_id,
                    problem=evidence.problem,
                    broken=_is_integrity(report.error),
                )
            )
        else:
            receipt = recorder().record(RecordInference(group=group, version=version, evidence=evidence))
    except PromotionError as error:
        logger.error("run refused", extra={"reason": str(error), "run_id": report.run_id})
        return {"refused": str(error)}
    logger.info(
        "run recorded",
        extra={
            "model_package_group": group,
            "model_package_version": version,
            "environment": report.environment,
            "run_id": report.run_id,
            "sequence": receipt.sequence,
            "note": receipt.note,
        },
    )
    return {"sequence": receipt.sequence, "note": receipt.note}


def _reported(report: RunReport, event: dict[str, object]) -> tuple[RunReport, str]:
    """Return a team's own evaluation under a name that no run has, and the account that sent the event.

    Raises:
        Invalid: no reporter is configured, or the report is of a failure, which only our own state machines may report.
    """
    if not config().inference.reporters:
        raise Invalid(
            "source", f"{names.REPORT_SOURCE}: [advanced.inference] reporters in promotion.toml names nobody."
        )
    if report.status != "Completed" or report.model_package_version is None:
        raise Invalid("status", "an evaluation that is reported is Completed, and of a version.")
    return replace(report, run_id=f"report-{event['id']}"), str(event["account"])


def _unmeasured(report: RunReport) -> dict[str, object]:
    """Record that a state machine found no input for a run."""
    group, version = report.model_package_group, report.model_package_version
    if version is None or not config().governs(group):
        raise Invalid("model_package_group", f"{group!r} is not governed by this service.")
    about = {"model_package_group": group, "model_package_version": version, "environment": report.environment}
    try:
        receipt = recorder().record(
            RecordUnmeasured(group=group, environment=report.environment, version=version, reason=report.reason[:1000])
        )
    except PromotionError as error:
        logger.error("run refused", extra={"reason": str(error), **about})
        return {"refused": str(error)}
    logger.info("nothing measured", extra={"sequence": receipt.sequence, "note": receipt.note, **about})
    return {"sequence": receipt.sequence, "note": receipt.note}


def read_evidence(report: RunReport, reporter: str = "") -> Evidence:
    """Read a run's results from S3, from the folder of its group and environment; `reporter` if a team measured them.

    Raises:
        Denied: this function may not read the metrics.
        Invalid: the metrics are in another place, can't be read, or are of another model.
    """
    known: dict[str, Any] = {
        "source": "inference",
        "environment": report.environment,
        "run_id": report.run_id,
        "reporter": reporter,
    }
    group = report.model_package_group or report.request.group
    if not group or not config().governs(group):
        raise Invalid("model_package_group", f"{group!r} is not governed by this service.")
    if report.status != "Completed":
        return Evidence(status="Failed", problem=_problem(report.error), **known)
    bucket, key = split_uri(report.metrics_uri, "metrics_uri")
    allowed = {variables().evidence_bucket, config().inference.bucket} - {""}
    folder = f"{report.model_package_group}/{report.environment}/"
    if bucket not in allowed or not key.startswith(folder) or ".." in key:
        raise Invalid("metrics_uri", f"{report.metrics_uri} is not under {folder} in a bucket of this service's runs.")
    document, digest = read_json(client("s3"), report.metrics_uri, "metrics_uri")
    known["metrics_sha256"] = digest
    if not isinstance(document, dict):
        raise Invalid("metrics_uri", "a metrics document is a JSON object.")
    check_subject(
        document,
        group=report.model_package_group,
        version=report.model_package_version,
        environment=report.environment,
        said=True,
    )
    base = report.metrics_uri.rpartition("/")[0]
    if not reporter and (spent := cost(instance_times(client("sagemaker"), report.run_id))) is not None:
        known |= {"cost_usd": spent.usd, "cost_basis": spent.basis}
    return evidence_of(
        document,
        metrics_uri=report.metrics_uri,
        pictures=picture_addresses(base, document.get("pictures")),
        **known,
    )


def picture_addresses(base: str, named: object) -> tuple[str, ...]:
    """Return the addresses of the first pictures beside the metrics, in the folder `base`, that fit into PICTURES_BYTES."""
    room, kept = PICTURES_BYTES, list[str]()
    for address in (f"{base}/{name}" for name in picture_names(named)):
        room -= len(msgspec.json.encode(address))
        if room < 0:
            break
        kept.append(address)
    return tuple(kept)


def picture_names(named: object) -> list[str]:
    """Return at most MOST_PICTURES names of pictures beside the metrics: a hostile document could list any number."""
    listed = named[:MOST_PICTURES] if isinstance(named, list) else []
    return [name for name in listed if isinstance(name, str) and "/" not in name and len(name) <= LONGEST_NAME]


def _is_integrity(error: object) -> bool:
    """Return True if a run failed by an integrity check: the function's error or the container's exit code."""
    return isinstance(error, dict) and error.get("Error") == "IntegrityError"


def _problem(error: object) -> str:
    if isinstance(error, dict):
        cause = str(error.get("Cause", ""))
        # A function's error arrives as JSON with its stack trace; only the message is shown.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            cause = json.loads(cause)["errorMessage"]
        return f"{error.get('Error', 'error')}: {cause}"[:1000]
    return str(error or "the run failed")[:1000]
