"""The common parts of the examples' roles for SageMaker jobs."""

from __future__ import annotations

import json
from typing import Any

_PULL = [
    "ecr:GetAuthorizationToken",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchCheckLayerAvailability",
]
_LOG = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
# By a job's role SageMaker pulls the image and writes logs and metrics.
JOB_RIGHTS = (([*_PULL, *_LOG, "cloudwatch:PutMetricData"], ["*"]),)


def policy(statements: list[dict[str, Any]]) -> str:
    """A policy document of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
