"""Processing jobs: copy inputs to folders, run the command, and upload outputs from folders."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.children import Children
from local.jobs.container import JobFailed, Storage, check_not_stopped, ended, relocated, start
from local.moto_patches.jobs import Job

_LONGEST_SECONDS = 3600
_MESSAGE = "/opt/ml/output/message"


def run(request: Mapping[str, Any], storage: Storage, folder: Path, children: Children, job: Job) -> None:
    """Run one processing job to its end.

    Raises:
        JobFailed: the job failed; the message is its FailureReason.
        JobStopped: the job was stopped.
    """
    for source in request.get("ProcessingInputs", ()):
        given = source["S3Input"]
        storage.download_all(given["S3Uri"], Path(relocated(given["LocalPath"], folder)))
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", ())
    for each in outputs:
        Path(relocated(each["S3Output"]["LocalPath"], folder)).mkdir(parents=True, exist_ok=True)
    message = Path(relocated(_MESSAGE, folder))
    message.parent.mkdir(parents=True, exist_ok=True)
    specification = request["AppSpecification"]
    entrypoint = specification.get("ContainerEntrypoint")
    if not entrypoint:
        raise JobFailed("ClientError: without an image, a processing job needs a ContainerEntrypoint here.")
    command = [relocated(part, folder) for part in (*entrypoint, *specification.get("ContainerArguments", ()))]
    environment = {name: relocated(value, folder) for name, value in (request.get("Environment") or {}).items()}
    log = folder / "container.log"
    process = start(command, environment, storage, log, children)
    longest = request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _LONGEST_SECONDS)
    deadline = time.monotonic() + longest
    try:
        while process.poll() is None:
            check_not_stopped(job)
            if time.monotonic() > deadline:
                raise JobFailed(f"ClientError: the job ran longer than MaxRuntimeInSeconds, {longest}.")
            time.sleep(0.05)
        if process.returncode != 0:
            raise ended(process, log)
    finally:
        children.stop(process, grace_seconds=2)
        if message.is_file():
            job.say(message.read_text(errors="replace"))
    for each in outputs:
        given = each["S3Output"]
        storage.upload_all(Path(relocated(given["LocalPath"], folder)), given["S3Uri"])
