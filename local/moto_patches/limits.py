"""SageMaker's limits on jobs, models and endpoint configurations, which moto doesn't check.

The instance families with local storage are listed here by name, independently of the product's own pattern, so that an
error in one is found by the other. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/InstanceStorage.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.responses import SageMakerResponse

_LOCAL_STORAGE = frozenset(
    (
        *("g4dn", "g5", "g6", "g6e", "gr6", "g7", "g7e", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6e-gb200"),
        *("trn1", "trn1n", "trn2", "i3", "i3en", "i4i", "i7ie", "m5d", "m5dn", "m6gd", "m6id", "m6idn", "m7gd", "m8gd"),
        *(
            "c5d",
            "c6gd",
            "c6id",
            "c7gd",
            "c8gd",
            "r5d",
            "r5dn",
            "r6gd",
            "r6id",
            "r7gd",
            "r8gd",
            "x2idn",
            "x2iedn",
            "z1d",
        ),
    )
)
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
MOST_PAYLOAD_MB = 100
MOST_TRANSFORM_VARIABLES = 16
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html
MOST_MODEL_VARIABLES = 100


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    for operation, check in (
        ("create_transform_job", _transform),
        ("create_processing_job", _processing),
        ("create_model", _model),
        ("create_endpoint_config", _endpoint_config),
    ):
        setattr(SageMakerResponse, operation, _checked(getattr(SageMakerResponse, operation), check))


def _checked(
    create: Callable[[Any], ActionResult], check: Callable[[Mapping[str, Any]], None]
) -> Callable[[Any], ActionResult]:
    def checked(self: Any) -> ActionResult:
        check(json.loads(self.body))
        return create(self)

    return checked


def _transform(given: Mapping[str, Any]) -> None:
    resources = given["TransformResources"]
    _no_volume_key(resources.get("VolumeKmsKeyId"), resources["InstanceType"])
    payload, at_once = given.get("MaxPayloadInMB", 6), given.get("MaxConcurrentTransforms", 1)
    if payload * at_once > MOST_PAYLOAD_MB:
        raise ValidationError(
            f"MaxConcurrentTransforms * MaxPayloadInMB is {payload * at_once}, which is greater than {MOST_PAYLOAD_MB}."
        )
    _few_variables(given.get("Environment"), MOST_TRANSFORM_VARIABLES)


def _processing(given: Mapping[str, Any]) -> None:
    cluster = given["ProcessingResources"]["ClusterConfig"]
    _no_volume_key(cluster.get("VolumeKmsKeyId"), cluster["InstanceType"])
    _few_variables(given.get("Environment"), MOST_MODEL_VARIABLES)


def _model(given: Mapping[str, Any]) -> None:
    for container in [given.get("PrimaryContainer"), *given.get("Containers", ())]:
        _few_variables((container or {}).get("Environment"), MOST_MODEL_VARIABLES)


def _endpoint_config(given: Mapping[str, Any]) -> None:
    for variant in given["ProductionVariants"]:
        _no_volume_key(given.get("KmsKeyId"), variant.get("InstanceType", ""))


def _no_volume_key(key: str | None, instance_type: str) -> None:
    family = instance_type.removeprefix("ml.").partition(".")[0]
    if key and family in _LOCAL_STORAGE:
        raise ValidationError(f"{instance_type} has local storage, and takes no KMS key for its volume.")


def _few_variables(environment: Mapping[str, str] | None, most: int) -> None:
    if len(environment or {}) > most:
        raise ValidationError(
            f"'environment' failed to satisfy constraint: Map size must be less than or equal to {most}"
        )
