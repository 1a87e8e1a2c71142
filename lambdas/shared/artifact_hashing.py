"""Hash artifacts too large for a function's time by a SageMaker processing job: start it, restart it, and read its result.

The state is read from SageMaker and S3 each time, so a duplicate or lost event, or a crash, is handled by the next call. An
event about a job is not trusted: the result is read from a place where only the job's role can write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
from botocore.exceptions import ClientError
from msgspec.structs import replace

from lambdas.shared.dependencies import client, config, inference_image, logger, now, recorder
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.s3.artifacts import pinned, read_json
from promotion.client.image_address import is_image
from promotion.domain.instance_types import volume_key
from promotion.domain.model import Container, Package
from promotion.errors import Invalid
from promotion.workflows.commands import RecordArtifact

# The waits are 5 and 20 minutes, 1, 5 and 21 hours, then a day each, which leaves about a week to fix the cause.
MOST_TRIES = 9
FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(days=1)
LONGEST_RUN_S = 24 * 3600
VOLUME_GB = 30
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Errors that an immediate retry would not resolve, so they are shown to people.
_REFUSALS = ("AccessDeniedException", "ResourceLimitExceeded", "ValidationException")


class _Hashed(msgspec.Struct, frozen=True):
    """An artifact in a job's result, with its digests and size in bytes, or its problem; `files` of a folder's."""

    artifact: str
    version_id: str = ""
    problem: str = ""
    sha256: str = ""
    manifest_sha256: str = ""
    size: int | None = None
    files: int = 0


class _Result(msgspec.Struct, frozen=True):
    artifacts: list[_Hashed]


def continue_hashing(package: Package) -> dict[str, object]:
    """Do the next step of hashing `package`: start its job, wait for it, record its result, or retry."""
    failed: Mapping[str, object] | None = None
    try:
        for attempt in range(1, MOST_TRIES + 1):
            job = describe_job(job_name(package.arn, attempt))
            if job is None:
                return _try(package, attempt, failed)
            if job["ProcessingJobStatus"] in ("InProgress", "Stopping"):
                return {"hashing": job["ProcessingJobName"]}
            if job["ProcessingJobStatus"] == "Completed":
                return _record(package, containers=read_result(package, result_uri(package.arn, attempt)))
            failed = job
        gave_up = f"Hashing failed {MOST_TRIES} times, and is given up; register the version again. {_reason(failed)}"
        return _record(package, problem=gave_up)
    except Invalid as error:
        return _record(package, problem=str(error))


def job_name(arn: str, attempt: int) -> str:
    """Return the name of a package's job: it is deterministic, so that two callers start one job."""
    group, version = arn.rsplit("/", 2)[-2:]
    unique = hashlib.sha256(arn.encode()).hexdigest()[:8]
    return f"{names.HASH_JOBS}{group[:20]}-v{version}-{unique}-{attempt}"


def result_uri(arn: str, attempt: int) -> str:
    # Not below a group's or environment's prefix, because the models' own jobs may write there.
    return (
        f"s3://{variables().evidence_bucket}/{names.HASHES}/{hashlib.sha256(arn.encode()).hexdigest()}-{attempt}.json"
    )


def describe_job(name: str) -> Mapping[str, Any] | None:
    """Return SageMaker's description of a processing job; None if there is none."""
    try:
        return dict(client("sagemaker").describe_processing_job(ProcessingJobName=name))
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ResourceNotFound", "ValidationException"):
            return None
        raise


def package_of(event: Mapping[str, Any]) -> str:
    """Return the ARN of the package of an ended hashing job, from SageMaker itself; empty for any other job."""
    name = str((event.get("detail") or {}).get("ProcessingJobName") or "")
    job = describe_job(name) if name.startswith(names.HASH_JOBS) else None
    return str((job or {}).get("Environment", {}).get(names.MODEL_PACKAGE_ARN, ""))


def read_result(package: Package, uri: str) -> tuple[Container, ...]:
    """Return the package's containers with the digests from a job's result.

    Raises:
        Invalid: an artifact can't be read completely, or the result is not of this package.
    """
    document, _ = read_json(client("s3"), uri, "hashing")
    try:
        found = msgspec.convert(document, _Result).artifacts
    except msgspec.ValidationError as error:
        raise Invalid("hashing", f"{uri} is not what a job of this service leaves: {error}") from None
    if len(found) != len(package.containers):
        raise Invalid("hashing", f"{uri} is not what a job of this service leaves: it is about {len(found)} artifacts.")
    containers = []
    for container, each in zip(package.containers, found, strict=True):
        if each.artifact != container.model_data_url:
            raise Invalid(
                "ModelDataUrl", "the package names another artifact than when hashing began; register it anew."
            )
        if each.problem:
            raise Invalid("ModelDataUrl", each.problem[:500])
        digests = {"sha256": each.sha256, "manifest_sha256": each.manifest_sha256}
        if each.size is None or not all(map(_SHA256.fullmatch, digests.values())):
            raise Invalid("hashing", f"{uri} has no digests, or no size.")
        pin = each.version_id
        containers.append(replace(container, model_data_version_id=pin, size=each.size, files=each.files, **digests))
    return tuple(containers)


def _try(package: Package, attempt: int, failed: Mapping[str, object] | None) -> dict[str, object]:
    """Start attempt number `attempt` if its wait is over; until then pages show the previous error."""
    if failed is not None:
        _record(package, problem=f"Hashing failed, and is tried again. {_reason(failed)}", hashing=True)
        ended = failed.get("ProcessingEndTime") or failed["LastModifiedTime"]
        wait = min(FIRST_WAIT * 4 ** (attempt - 2), LONGEST_WAIT)
        if now() < ended + wait:
            return {"waits": (ended + wait).isoformat()}
    try:
        _start(package, attempt)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code not in _REFUSALS:
            raise
        said = f"SageMaker does not start the job that hashes it: {error.response['Error']['Message'][:300]}"
        return _record(package, problem=f"{said} It is tried again every five minutes.", hashing=True)
    logger.info("hashing started", extra={"job": job_name(package.arn, attempt), **_about(package)})
    return {"hashing": job_name(package.arn, attempt)}


def _start(package: Package, attempt: int) -> None:
    image = inference_image()
    result = result_uri(package.arn, attempt)
    plan = result.removesuffix(".json") + ".plan.json"
    # A file, because an argument is limited to 256 characters and a key to 1,024; pinned, because a retry may find other bytes.
    document = [
        {
            "artifact": each.model_data_url,
            **pinned(client("s3"), each),
            # Detects problems of the inference image with the model here too, before the approvals.
            **({"environment": each.environment} if is_image(each.image, image) else {}),
        }
        for each in package.containers
    ]
    bucket, _, key = plan.removeprefix("s3://").partition("/")
    client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps({"artifacts": document}).encode())
    wanted = config().inference
    vpc = {"Subnets": list(wanted.subnets), "SecurityGroupIds": list(wanted.security_groups)}
    request: dict[str, Any] = {
        "ProcessingJobName": job_name(package.arn, attempt),
        "RoleArn": variables().hashing_role_arn,
        "AppSpecification": {
            "ImageUri": image,
            "ContainerEntrypoint": ["python", "-m", "inference", "hash"],
            "ContainerArguments": ["--plan", plan, "--output", result],
        },
        "Environment": {names.MODEL_PACKAGE_ARN: package.arn},
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": config().artifacts.hash_instance_type,
                "VolumeSizeInGB": VOLUME_GB,
                **volume_key(config().artifacts.hash_instance_type, wanted.volume_key),
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": LONGEST_RUN_S},
        # The job streams the artifact from S3 without storing it on disk, which network isolation would prevent.
        "NetworkConfig": {"EnableNetworkIsolation": False, **({"VpcConfig": vpc} if wanted.subnets else {})},
    }
    try:
        client("sagemaker").create_processing_job(**request)
    except ClientError as error:
        # A concurrent call, or one of ours whose response was lost, has started the same job.
        if error.response["Error"]["Code"] != "ResourceInUse":
            raise


def _record(
    package: Package, *, containers: tuple[Container, ...] = (), problem: str = "", hashing: bool = False
) -> dict[str, object]:
    receipt = recorder().record(
        RecordArtifact(
            group=package.group,
            version=package.version,
            containers=containers,
            problem=problem,
            hashing=hashing,
        )
    )
    if receipt.events:
        log = logger.error if problem else logger.info
        log("artifact hashed" if containers else "artifact not hashed", extra={"problem": problem, **_about(package)})
    return {"sequence": receipt.sequence, "note": receipt.note}


def _about(package: Package) -> dict[str, object]:
    return {"model_package_group": package.group, "model_package_version": package.version}


def _reason(job: Mapping[str, object] | None) -> str:
    """Return SageMaker's reason for a failed job."""
    found = job or {}
    said = found.get("FailureReason") or found.get("ExitMessage") or found.get("ProcessingJobStatus", "")
    return f"{found.get('ProcessingJobName', '')}: {said}"[:500]
