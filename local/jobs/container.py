"""The container of a job: a process of this project, with the role's credentials and access to S3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from local import REGION
from local.aws.callers import service_session
from local.children import Children, describe, plain_environment
from local.clients import any_client
from local.containers.images import command_of
from local.jobs import rights
from local.moto_patches.jobs import Job
from promotion.client.folder_artifact import list_folder
from promotion.errors import Invalid

ROOT = Path(__file__).resolve().parent.parent.parent
_TAIL_CHARACTERS = 600


class JobFailed(Exception):
    """A job failed; the message is its FailureReason."""


class JobStopped(Exception):
    """The job was stopped."""


class Storage:
    """S3 with the permissions of the job's execution role, which may also pull `images` and write to `log_group`."""

    def __init__(self, aws_url: str, role_arn: str, job_name: str, images: Iterable[str], log_group: str) -> None:
        self.credentials = service_session(role_arn, job_name, "sagemaker.amazonaws.com")
        rights.check(self.credentials, images, log_group)
        self.aws_url = aws_url
        self._s3 = any_client("s3", endpoint_url=aws_url, region_name=REGION, **self.credentials)

    def keys(self, uri: str) -> Iterator[tuple[str, str]]:
        """Yield key and name, relative to the prefix's folder, of every object under a prefix."""
        bucket, prefix = split(uri)
        found = False
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                if not each["Key"].endswith("/"):
                    found = True
                    folder = prefix if prefix.endswith("/") else prefix.rpartition("/")[0]
                    name = each["Key"] if not folder else each["Key"].removeprefix(folder).lstrip("/")
                    if each["Key"].startswith(f"{prefix}/"):
                        name = each["Key"].removeprefix(f"{prefix}/")
                    yield each["Key"], name
        if not found:
            raise JobFailed(f"ClientError: there is nothing under {uri}.")

    def read(self, bucket: str, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def download(self, uri: str, target: Path) -> None:
        bucket, key = split(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._s3.download_file(bucket, key, str(target))

    def download_all(self, uri: str, folder: Path) -> None:
        bucket, _ = split(uri)
        for key, name in self.keys(uri):
            self.download(f"s3://{bucket}/{key}", folder / name)

    def files(self, uri: str) -> list[str]:
        """Return the paths of an uncompressed model's files below /opt/ml/model, as in SageMaker.

        Raises:
            Invalid: one of them can't be placed.
        """
        return [each.path for each in list_folder(self._s3, uri)]

    def write(self, uri: str, content: bytes) -> None:
        bucket, key = split(uri)
        self._s3.put_object(Bucket=bucket, Key=key, Body=content)

    def upload_all(self, folder: Path, uri: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def start(
    command: Sequence[str], environment: Mapping[str, str], storage: Storage, log: Path, children: Children
) -> subprocess.Popen[bytes]:
    """Start a container's process, with one thread, because on a busy machine several threads wait for each other."""
    program = [sys.executable if command[0] in {"python", "python3"} else command[0], *command[1:]]
    full = plain_environment(
        OMP_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
        PYTHONUNBUFFERED="1",
        AWS_ENDPOINT_URL=storage.aws_url,
        AWS_REGION=REGION,
        AWS_DEFAULT_REGION=REGION,
        AWS_ACCESS_KEY_ID=storage.credentials["aws_access_key_id"],
        AWS_SECRET_ACCESS_KEY=storage.credentials["aws_secret_access_key"],
        AWS_SESSION_TOKEN=storage.credentials["aws_session_token"],
        AWS_EC2_METADATA_DISABLED="true",
    )
    with log.open("ab") as log_file:
        return children.start(program, environment={**full, **environment}, directory=ROOT, log=log_file.fileno())


def ended(process: subprocess.Popen[bytes], log: Path) -> JobFailed:
    """Return the failure of a container that ended by itself, with the last lines of its output."""
    tail = log.read_text(errors="replace")[-_TAIL_CHARACTERS:].strip().rpartition("\n")[2]
    return JobFailed(f"AlgorithmError: the container ended, {describe(process)}: {tail}")


def command_for(container: Mapping[str, Any]) -> list[str]:
    """Return the local command for a container's image.

    Raises:
        JobFailed: the image isn't supported here.
    """
    try:
        return command_of(str(container.get("Image", "")))
    except Invalid as error:
        raise JobFailed(f"ClientError: {error.reason}") from None


def images_of(containers: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the images of containers in a request of CreateModel or CreateProcessingJob."""
    return [str(each.get("Image", "")) for each in containers]


def containers_of(model: Any) -> list[Mapping[str, Any]]:
    """Return the containers of moto's model, in order."""
    return [model.primary_container] if model.primary_container else list(model.containers)


def check_not_stopped(job: Job) -> None:
    if job.status == "Stopping":
        raise JobStopped


def relocated(value: Any, folder: Path) -> Any:
    """Return text with the container's /opt/ml replaced by the job's folder."""
    return value.replace("/opt/ml", str(folder / "opt" / "ml")) if isinstance(value, str) else value
