"""A model package was registered, or changed while pending approval: hash its artifact and request the first environment.

Registrations come through a queue, a few at a time, so that decisions and pages stay fast during a burst. An artifact too large
for the function's time limit is hashed by a job (lambdas/shared/artifact_hashing.py); the job's end, and the sweep, invoke this
function too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from lambdas.shared import artifact_hashing
from lambdas.shared.changes import parse_change, record_bypass
from lambdas.shared.dependencies import (
    client,
    config,
    installed_at,
    ledger,
    logger,
    own_image,
    prefix,
    recorder,
)
from lambdas.shared.queues import retry_after
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.accounts import share_group
from promotion.aws.s3.artifacts import hash_container, is_transient, registered_evidence, size_of
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.aws.sagemaker.images import with_image_digests
from promotion.aws.sagemaker.registry import describe
from promotion.client.artifact import Manifest
from promotion.config.resources import partition_of
from promotion.domain.model import Package
from promotion.errors import Invalid
from promotion.formatting import one_line
from promotion.ledger.payloads import RegistrationAsked
from promotion.workflows.commands import Register

_BYTES_PER_GB = 1 << 30
# Time that is reserved to record the version if an artifact can't be read within the function's time limit.
_KEPT_FOR_RECORDING_MS = 60_000
# The wait before the first retry of a registration; it is twice as long before the second, and so on.
_WAIT_S = 60


def handler(event: dict[str, Any], context: object) -> None:
    """Process registrations from the queue; a failed one is retried soon, and finally goes to the dead-letter queue."""
    for record in event["Records"]:
        try:
            take(json.loads(record["body"]), context)
        except Exception:
            seconds = int(record["attributes"]["ApproximateReceiveCount"]) * _WAIT_S
            retry_after(variables().registrations_queue_url, record["receiptHandle"], seconds)
            raise


def take(event: Mapping[str, Any], context: object) -> dict[str, object]:
    """Process an event of a package, of a hashing job, or of another function of this service."""
    if event.get("detail-type") == names.PROCESSING_STATE_CHANGE:
        arn = artifact_hashing.package_of(event)
        return continue_hashing(arn) if arn else {"ignored": "not a job that hashes"}
    try:
        change = parse_change(event)
    except Invalid as error:
        # A retry would fail in the same way.
        logger.error("event refused", extra={"reason": str(error), "event_id": event.get("id")})
        return {"refused": str(error)}
    group = change.ModelPackageGroupName or change.ModelPackageArn.rpartition("/")[0].rpartition("/")[2]
    if not config().governs(group) or not names.GROUP_PATTERN.fullmatch(group):
        logger.info("group not governed", extra={"model_package_group": group})
        return {"ignored": "group not governed"}
    if event.get("hashing"):
        return continue_hashing(change.ModelPackageArn)
    if isinstance(lost := event.get("lost"), int) and ledger().version(group, lost) is not None:
        # The sweep sends one every few minutes while a registration waits; hashing for each would keep the queue full.
        logger.info("it only waited", extra={"model_package_arn": change.ModelPackageArn})
        return {"ignored": "registered meanwhile"}
    try:
        asked = _asked(group, change.ModelPackageArn, event["asked"]) if "asked" in event else ""
    except Invalid as error:
        logger.error("event refused", extra={"reason": str(error), "event_id": event.get("id")})
        return {"refused": str(error)}
    return register(change.ModelPackageArn, by_job=bool(event.get("by_job")), budget=_budget(context), asked=asked)


def continue_hashing(arn: str) -> dict[str, object]:
    """Continue to hash a package that is already registered."""
    package, _ = describe(client("sagemaker"), arn, config().identity.requesters)
    return artifact_hashing.continue_hashing(_with_image_digests(package))


def _asked(group: str, arn: str, sequence: object) -> str:
    """Return the request's note for a package that an operator requested, from the event in the ledger.

    Raises:
        Invalid: the ledger has no such event.
    """
    event = ledger().event(group, sequence) if isinstance(sequence, int) else None
    if event is None or not isinstance(event.payload, RegistrationAsked) or event.payload.arn != arn:
        raise Invalid("asked", f"event {sequence} of {group} asks for no such package.")
    return f"Registered before this service came; {event.actor.label} asked for it: {event.payload.reason}"


class _OutOfTimeError(Exception):
    """The function's time limit is too short to read the whole artifact."""


def _budget(context: object) -> Callable[[], None]:
    """Return a check that stops the reading of an artifact before the function times out."""
    left = getattr(context, "get_remaining_time_in_millis", None)

    def check() -> None:
        if left is not None and left() < _KEPT_FOR_RECORDING_MS:
            raise _OutOfTimeError

    return check


def register(
    arn: str, *, by_job: bool = False, budget: Callable[[], None] = lambda: None, asked: str = ""
) -> dict[str, object]:
    """Read a package, hash its artifact, and record it with the request for the first environment.

    Args:
        arn: The model package's ARN.
        by_job: Let a job hash the artifact, because an earlier call ran out of time.
        budget: Called while an artifact is read; raises once a job has to take over.
        asked: The request's note if an operator requested the version.
    """
    try:
        package, description = describe(
            client("sagemaker"), arn, config().identity.requesters, config().environment_names
        )
    except Invalid as error:
        logger.error("package refused", extra={"model_package_arn": arn, "reason": str(error)})
        return {"refused": str(error)}
    if not asked and _is_older(package):
        logger.info("older than the service, never asked for", extra={"model_package_arn": arn})
        return {"ignored": "registered before this service came; `promotion ask` or `promotion adopt` takes it over"}
    status, approval = description.get("ModelPackageStatus", "Completed"), description.get("ModelApprovalStatus")
    if status not in ("Completed", "Failed"):
        # SageMaker sends an event when the package is complete; if that is lost, the sweep finds the package.
        logger.info("package not made yet", extra={"model_package_arn": arn, "status": status})
        return {"waits": status}
    if status == "Failed":
        package = replace(package, problem=f"SageMaker could not make the package: {_failure(description)}")
    package = _with_image_digests(package)
    manifests: list[Manifest] = []
    package = with_digests(package, by_job=by_job, budget=budget, keep=manifests.append)
    kept = EvidenceBucket(client("s3"), variables().evidence_bucket)
    for manifest in manifests:
        kept.keep_manifest(manifest)
    evidence = registered_evidence(client("s3"), description)
    unasked = "Failed" if status == "Failed" else names.REJECTED if approval == names.REJECTED else ""
    receipt = recorder().record(Register(package=package, evidence=evidence, unasked=unasked, changed=asked))
    logger.info(
        "model registered",
        extra={
            "model_package_group": package.group,
            "model_package_version": package.version,
            "sequence": receipt.sequence,
            "note": receipt.note,
            "problem": package.problem,
        },
    )
    if package.hashing:
        artifact_hashing.continue_hashing(package)
    if description.get("ModelApprovalStatus") in (names.APPROVED, names.REJECTED):
        # The package was never pending, so it has no request; or its status was set out of band while it was hashed.
        receipt = record_bypass(description)
    if readers := execution_roles():
        # Last, because a policy that SageMaker refuses fails each time.
        share_group(client("sagemaker"), package.arn, package.group, readers)
    return {"sequence": receipt.sequence, "note": receipt.note}


def _with_image_digests(package: Package) -> Package:
    """Resolve the package's image tags to digests, once per version."""
    if not any(each.image_can_move for each in package.containers):
        return package
    state = ledger().version(package.group, package.version)
    resolved = with_image_digests(client("ecr"), package, state.package if state is not None else None)
    if movable := [each.image for each in resolved.containers if each.image_can_move]:
        logger.warning("images named by a tag", extra={"model_package_arn": package.arn, "images": movable})
    return resolved


def _is_older(package: Package) -> bool:
    """Return True for a package that was created before this service was installed, and never requested by an operator."""
    made = package.created_at
    return made is not None and made < installed_at() and ledger().version(package.group, package.version) is None


def _failure(description: Mapping[str, Any]) -> str:
    """Return SageMaker's reason for failing to make a package."""
    details = description.get("ModelPackageStatusDetails") or {}
    statuses = [*(details.get("ValidationStatuses") or ()), *(details.get("ImageScanStatuses") or ())]
    reasons = [str(each["FailureReason"]) for each in statuses if each.get("FailureReason")]
    return one_line("; ".join(reasons), 500) or "it gives no reason."


def execution_roles() -> list[str]:
    """ARNs of the models' execution roles in the environments' own accounts."""
    partition = partition_of(config().registry.region or "")
    return [
        environment.execution_role
        or f"arn:{partition}:iam::{account}:role/{names.environment_role(prefix(), environment.name, 'execution')}"
        for environment in config().environments
        if (account := config().cross_account.get(environment.name))
    ]


def with_digests(
    package: Package,
    *,
    by_job: bool,
    budget: Callable[[], None],
    keep: Callable[[Manifest], None],
) -> Package:
    """Return a package with the hashes of its artifacts; or with the reason why they can't be hashed, which prevents
    approval; or marked for a hashing job, if they are too large for the function's time limit.

    A permanent problem of an artifact becomes the package's `problem`; only errors that a retry may resolve are raised.
    """
    if package.problem:
        return package
    s3, limit = client("s3"), config().artifacts.hash_in_function_up_to_gb * _BYTES_PER_GB
    sized = package
    try:
        sizes = [size_of(s3, container) for container in package.containers]
        sized = replace(
            package,
            containers=tuple(replace(each, size=size) for each, size in zip(package.containers, sizes, strict=True)),
        )
        if by_job or sum(sizes) > limit:
            return replace(sized, hashing=True)
        own = own_image()
        hashed = (hash_container(s3, each, on_chunk=budget, keep=keep, own_image=own) for each in package.containers)
        return replace(package, containers=tuple(hashed))
    except _OutOfTimeError:
        return replace(sized, hashing=True)
    except Invalid as error:
        return replace(package, problem=str(error))
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("artifact not hashed", extra={"model_package_arn": package.arn})
        return replace(package, problem=f"ModelDataUrl: the artifact can't be read ({type(error).__name__}).")
