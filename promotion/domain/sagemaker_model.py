"""CreateModel request of a live model, the same for a batch transform and for an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promotion.client.live_record import LiveContainer, LiveModel
from promotion.errors import Invalid

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html, Environment
MOST_VARIABLES = 100
MOST_VARIABLES_BYTES = 32 << 10


def model_request(
    model: LiveModel,
    *,
    name: str,
    role: str,
    subnets: Sequence[str],
    security_groups: Sequence[str],
    isolated: bool,
) -> dict[str, Any]:
    """CreateModel's request for what is live: its own container, held to the approved bytes.

    Raises:
        Invalid: the container has more variables than SageMaker takes.
    """
    container = model.containers[0]
    network = {"VpcConfig": {"Subnets": list(subnets), "SecurityGroupIds": list(security_groups)}} if subnets else {}
    return {
        "ModelName": name,
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": isolated,
        "PrimaryContainer": {
            "Image": pinned_image(container),
            "ModelDataUrl": container.model_data_url,
            "Environment": variables(container, model),
        },
        **network,
    }


def pinned_image(container: LiveContainer) -> str:
    """The container's image by the digest that was approved, so that a tag that moves changes nothing.

    Without a digest in the record it is the image as the package names it.
    """
    if not container.image_digest or "@" in container.image:
        return container.image
    return f"{repository(container.image)}@{container.image_digest}"


def repository(image: str) -> str:
    """Return an image's address without its tag and digest."""
    place, slash, name = image.partition("@")[0].rpartition("/")
    # A colon before the last slash is a registry's port.
    return f"{place}{slash}{name.partition(':')[0]}"


def same_repository(image: str, other: str) -> bool:
    """Return True if two images are of one repository, whatever their tags."""
    return repository(image) == repository(other)


def variables(container: LiveContainer, model: LiveModel) -> dict[str, str]:
    """The container's own variables, and what holds it to the approved bytes.

    Raises:
        Invalid: SageMaker takes no more than 100, of 32 KB together.
    """
    found = {
        **container.environment,
        "PROMOTION_MANIFEST_SHA256": container.manifest_sha256,
        "PROMOTION_APPROVAL_ID": model.approval_id,
    }
    if len(found) > MOST_VARIABLES:
        raise Invalid("containers[0].environment", f"SageMaker takes {MOST_VARIABLES} variables, two of them ours.")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in found.items())
    if size > MOST_VARIABLES_BYTES:
        raise Invalid("containers[0].environment", f"SageMaker takes 32 KB of variables, and these have {size} bytes.")
    return found
