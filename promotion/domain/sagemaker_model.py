"""CreateModel request of a live model, the same for a batch transform and for an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promotion.client.folder_artifact import is_folder
from promotion.client.image_address import is_image, repository
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.domain.model import Container
from promotion.errors import Invalid

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html, Environment
MOST_VARIABLES = 100
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html, Containers
MOST_CONTAINERS = 15
MOST_VARIABLES_BYTES = 32 << 10
# The greatest length of an approval's id.
_LONG = "x" * 128


def model_request(
    model: LiveModel,
    *,
    name: str,
    role: str,
    subnets: Sequence[str],
    security_groups: Sequence[str],
    isolated: bool,
) -> dict[str, object]:
    """Build CreateModel's request for the live version: its containers, each with its approved bytes.

    Several containers are a serial pipeline, in which each gets the previous one's output; that is CreateModel's default.

    Raises:
        Invalid: a container has more variables than SageMaker takes.
    """
    network = {"VpcConfig": {"Subnets": list(subnets), "SecurityGroupIds": list(security_groups)}} if subnets else {}
    return {
        "ModelName": name,
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": isolated,
        "Containers": [
            {
                "Image": pinned_image(container),
                **model_data(container.model_data_url),
                "Environment": variables(container, model, place=f"containers[{number}]"),
            }
            for number, container in enumerate(model.containers)
        ],
        **network,
    }


def model_data(url: str) -> dict[str, object]:
    """Build CreateModel's fields for an artifact: an archive, or a folder that SageMaker copies as it is."""
    if not is_folder(url):
        return {"ModelDataUrl": url}
    source = {"S3Uri": url, "S3DataType": "S3Prefix", "CompressionType": "None"}
    return {"ModelDataSource": {"S3DataSource": source}}


def pinned_image(container: LiveContainer) -> str:
    """The container's image by the digest that was approved, so that a tag that moves changes nothing.

    Without a digest in the record it is the image as the package names it.
    """
    if not container.image_digest or "@" in container.image:
        return container.image
    return f"{repository(container.image)}@{container.image_digest}"


def variables(container: LiveContainer, model: LiveModel, *, place: str = "containers[0]") -> dict[str, str]:
    """Return the container's own variables, and those with which it verifies the approved bytes.

    Raises:
        Invalid: SageMaker takes no more than 100, of 32 KB together.
    """
    found = _with_ours(container.environment, container.manifest_sha256, model.approval_id)
    if problem := _too_many(found):
        raise Invalid(f"{place}.environment", problem)
    return found


def brings_code(containers: Sequence[Container], own_image: str) -> bool:
    """Return True if a container has an image other than `own_image`; False if that is unknown (empty)."""
    return bool(own_image) and not all(is_image(each.image, own_image) for each in containers)


def unservable(containers: Sequence[Container]) -> str:
    """Return why SageMaker would not create a model of a package's containers; empty if it would.

    It is reported at registration, so that nobody approves a version that no environment can run.
    """
    if len(containers) > MOST_CONTAINERS:
        return f"InferenceSpecification.Containers: SageMaker takes {MOST_CONTAINERS}, and there are {len(containers)}."
    for number, container in enumerate(containers):
        place = f"InferenceSpecification.Containers[{number}]"
        if not container.image:
            return f"{place}.Image: it names none."
        if problem := _too_many(_with_ours(container.environment, _LONG[:64], _LONG)):
            return f"{place}.Environment: {problem}"
    return ""


def _with_ours(environment: Mapping[str, str], manifest_sha256: str, approval_id: str) -> dict[str, str]:
    return {
        **environment,
        "PROMOTION_MANIFEST_SHA256": manifest_sha256,
        "PROMOTION_APPROVAL_ID": approval_id,
    }


def _too_many(variables: Mapping[str, str]) -> str:
    if len(variables) > MOST_VARIABLES:
        return f"SageMaker takes {MOST_VARIABLES} variables, two of them ours."
    size = sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
    return f"SageMaker takes 32 KB of variables, and these have {size} bytes." if size > MOST_VARIABLES_BYTES else ""
