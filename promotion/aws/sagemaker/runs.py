"""The SageMaker jobs of an inference run, read after its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from promotion.rendering.documents.costs import InstanceTime

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


def instance_times(client: SageMakerClient, run_id: str) -> list[InstanceTime]:
    """Return the time of a run's instances; empty if SageMaker doesn't return the jobs, as only the cost depends on it.

    The names of jobs are those of lambdas/handlers/prepare_inference.py.
    """
    name = f"promotion-{run_id}"
    try:
        transform = client.describe_transform_job(TransformJobName=name)
        score = client.describe_processing_job(ProcessingJobName=f"{name}-score")
    except ClientError:
        return []
    times = [
        _time(transform, "Transform", transform["TransformResources"]),
        _time(score, "Processing", score["ProcessingResources"]["ClusterConfig"]),
    ]
    return [time for time in times if time is not None] if None not in times else []


def _time(job: Mapping[str, Any], kind: str, resources: Mapping[str, Any]) -> InstanceTime | None:
    began, ended = job.get(f"{kind}StartTime"), job.get(f"{kind}EndTime")
    if began is None or ended is None:
        return None
    return InstanceTime(instance_type=resources["InstanceType"], count=resources["InstanceCount"], time=ended - began)
