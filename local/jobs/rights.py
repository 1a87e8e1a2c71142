"""Permissions of an execution role that SageMaker itself uses, in addition to the container: images, logs, metrics.

AWS lists them for each kind of job: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from local.aws import access, callers
from local.aws.access import Denied
from local.aws.needs import Need, arn

_IMAGE = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@]+)")
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
_LOG = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")


def check(credentials: Mapping[str, str], images: Iterable[str], log_group: str) -> None:
    """Check that a role may pull its job's images, and write the job's logs and metrics.

    AWS runs a job without permissions for logs and metrics, and its output is lost. Here the job fails.

    Args:
        credentials: of a session of the role, as boto3's arguments.
        images: of the job's containers; only those in ECR need a permission.
        log_group: the part after `/aws/sagemaker/`, such as `ProcessingJobs`.

    Raises:
        Denied: the first permission that the role lacks.
    """
    caller = callers.find(credentials["aws_access_key_id"], credentials["aws_session_token"])
    for need in _needs(images, f"/aws/sagemaker/{log_group}"):
        if not access.allowed(caller, need):
            raise Denied(caller, need)


def _needs(images: Iterable[str], log_group: str) -> Iterator[Need]:
    for image in images:
        if found := _IMAGE.match(image):
            yield Need("ecr:GetAuthorizationToken")
            repository = f"arn:aws:ecr:{found['region']}:{found['account']}:repository/{found['name']}"
            yield from (Need(action, repository) for action in _PULL)
    yield from (Need(action, arn("logs", f"log-group:{log_group}:log-stream:job")) for action in _LOG)
    yield Need("cloudwatch:PutMetricData", context={"cloudwatch:namespace": log_group})
