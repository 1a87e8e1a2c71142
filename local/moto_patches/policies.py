"""The policy of a model package group, which moto lacks: stored unchanged."""

from __future__ import annotations

import json
from typing import Any

from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.responses import SageMakerResponse


def mend() -> None:
    """Add the two operations to moto."""

    def get_model_package_group_policy(self: Any) -> ActionResult:
        group = _group(self)
        policy = getattr(group, "resource_policy", None)
        if policy is None:
            # The error that AWS's own CloudFormation handler of model package groups expects.
            raise ValidationError(f"Cannot find resource policy for: {group.arn}")
        return ActionResult({"ResourcePolicy": policy})

    def put_model_package_group_policy(self: Any) -> ActionResult:
        group = _group(self)
        group.resource_policy = json.loads(self.body)["ResourcePolicy"]
        return ActionResult({"ModelPackageGroupArn": group.arn})

    SageMakerResponse.get_model_package_group_policy = get_model_package_group_policy
    SageMakerResponse.put_model_package_group_policy = put_model_package_group_policy


def _group(response: Any) -> Any:
    name = str(json.loads(response.body)["ModelPackageGroupName"]).rpartition("/")[2]
    groups = response.sagemaker_backend.model_package_groups
    if name not in groups:
        raise ValidationError(f"Model Package Group {name} does not exist.")
    return groups[name]
