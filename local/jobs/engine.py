"""Transform and processing jobs, one at a time, because two models at once would slow each other down."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.sagemaker.models import sagemaker_backends

from local import ACCOUNT, REGION
from local.aws.access import Denied
from local.children import Children
from local.jobs import processing, transform
from local.jobs.container import JobFailed, JobStopped, Storage, containers_of, images_of
from local.moto_patches import jobs as mended
from local.moto_patches.jobs import Job

log = logging.getLogger("local.jobs")


class JobEngine:
    """Run jobs when they are created, each with its role's permissions and in its own folder."""

    def __init__(self, aws_url: str, home: Path, children: Children) -> None:
        self._aws_url = aws_url
        self._home = home
        self._children = children
        self._slot = ThreadPoolExecutor(max_workers=1, thread_name_prefix="job")
        mended.runners[:] = [self._take]

    def stop(self) -> None:
        mended.runners.clear()
        self._slot.shutdown(wait=False, cancel_futures=True)

    def _take(self, kind: str, request: Mapping[str, Any], job: Job) -> None:
        self._slot.submit(self._run, kind, request, job)

    def _run(self, kind: str, request: Mapping[str, Any], job: Job) -> None:
        folder = self._home / re.sub(r"[^A-Za-z0-9.-]", "-", job.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log.info("%s job %s starts", kind, job.name)
        try:
            if job.status == "Stopping":
                raise JobStopped
            if kind == "transform":
                model = sagemaker_backends[ACCOUNT][REGION]._models[request["ModelName"]]
                containers = containers_of(model)
                images = images_of(containers)
                storage = Storage(self._aws_url, model.execution_role_arn, job.name, images, "TransformJobs")
                transform.run(request, containers, storage, folder, self._children, job)
            else:
                images = [str(request["AppSpecification"]["ImageUri"])]
                storage = Storage(self._aws_url, request["RoleArn"], job.name, images, "ProcessingJobs")
                processing.run(request, storage, folder, self._children, job)
        except JobStopped:
            job.stopped()
        except (JobFailed, PermissionError) as failed:
            job.fail(str(failed))
        except (ClientError, BotoCoreError, Denied) as failed:
            job.fail(f"ClientError: {failed}")
        except Exception as failed:
            log.exception("%s job %s broke", kind, job.name)
            job.fail(f"InternalServerError: {failed}")
        else:
            job.complete()
        log.info("%s job %s: %s", kind, job.name, job.status)
        # Keep the log, but remove unpacked files, which would fill the disk.
        for each in folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            elif each.suffix != ".log":
                each.unlink()
