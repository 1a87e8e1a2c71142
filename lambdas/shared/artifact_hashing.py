"""Hash artifacts too large for a function's time by a SageMaker processing job: start it, restart it, and read its result.

The state is read from SageMaker and S3 each time, so that the next call makes up for a duplicate or lost event, or a crash. An
event about a job proves nothing: the result is read from a place where only the job's role can write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

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
from promotion.ledger.append import Receipt
from promotion.workflows.commands import RecordArtifact

# Waits of 5 and 20 minutes, 1, 5 and 21 hours, then of a day each: a week to fix the cause.
MOST_TRIES = 9
FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(days=1)
LONGEST_RUN_S = 24 * 3600
VOLUME_GB = 30
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Refused rather than late: trying it again at once would not help, and a person has to see it.
_REFUSALS = ("AccessDeniedException", "ResourceLimitExceeded", "ValidationException")


def look_after(package: Package) -> dict[str, object]:
    """Start the job for `package`, wait for it, have its result recorded, or try again: whatever comes next."""
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
    # Not below group or environment: there the models' own jobs may write.
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
    """The package's containers with the digests that a job found.

    Raises:
        Invalid: an artifact can't be read to its end, or the result is not of this package.
    """
    document, _ = read_json(client("s3"), uri, "hashing")
    found = document.get("artifacts") if isinstance(document, dict) else None
    if not isinstance(found, list) or len(found) != len(package.containers):
        raise Invalid("hashing", f"{uri} is not what a job of this service leaves.")
    containers = []
    for container, each in zip(package.containers, found, strict=True):
        if each.get("artifact") != container.model_data_url:
            raise Invalid(
                "ModelDataUrl", "the package names another artifact than when hashing began; register it anew."
            )
        if each.get("problem"):
            raise Invalid("ModelDataUrl", str(each["problem"])[:500])
        digests = {name: str(each.get(name, "")) for name in ("sha256", "manifest_sha256")}
        if not all(map(_SHA256.fullmatch, digests.values())):
            raise Invalid("hashing", f"{uri} has no digests.")
        pin = str(each.get("version_id") or "")
        size, files = int(each["size"]), int(each.get("files", 0))
        containers.append(replace(container, model_data_version_id=pin, size=size, files=files, **digests))
    return tuple(containers)


def _try(package: Package, attempt: int, failed: Mapping[str, object] | None) -> dict[str, object]:
    """Start attempt number `attempt`, once its time has come; meanwhile the page shows the previous error."""
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
    # A file, because an argument holds 256 characters and a key 1,024; pinned, because a retry reads what is there by then.
    document = [
        {
            "artifact": each.model_data_url,
            **pinned(client("s3"), each),
            # Problems of the inference image with the model are found here too, not after the approvals.
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
        # It reads S3 itself, a part at a time, so that no disk has to hold the artifact: isolation would prevent that.
        "NetworkConfig": {"EnableNetworkIsolation": False, **({"VpcConfig": vpc} if wanted.subnets else {})},
    }
    try:
        client("sagemaker").create_processing_job(**request)
    except ClientError as error:
        # Another call was faster, or our own answer was lost: it is the same job.
        if error.response["Error"]["Code"] != "ResourceInUse":
            raise


def _record(
    package: Package, *, containers: tuple[Container, ...] = (), problem: str = "", hashing: bool = False
) -> dict[str, object]:
    receipt: Receipt = recorder().record(
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
