"""Digests of image tags in ECR, so that moving a tag later has no effect."""

from __future__ import annotations

import re
from typing import Protocol, TypedDict

from botocore.exceptions import BotoCoreError, ClientError
from msgspec.structs import replace

from promotion.aws.s3.artifacts import is_transient
from promotion.domain.model import Container, Package
from promotion.domain.package_changes import is_another

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
_ADDRESS = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.(?:com|com\.cn|eu)"
    r"/(?P<repository>[a-z0-9][a-z0-9._/-]+)(?::(?P<tag>\w[\w.-]*))?",
    re.ASCII,
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Docker's default if an address has no tag.
_LATEST = "latest"


class ImageId(TypedDict, total=False):
    """An image's tag and digest, as ECR names them."""

    imageTag: str
    imageDigest: str


class FoundImage(TypedDict):
    """An image that ECR found."""

    imageId: ImageId


class FoundImages(TypedDict):
    """The fields of BatchGetImage's answer that are used here."""

    images: list[FoundImage]


class ClientMeta(Protocol):
    """A client's own data."""

    @property
    def region_name(self) -> str:
        """Region that the client calls."""


class ImageRegistry(Protocol):
    """The part of ECR's client that is used here."""

    @property
    def meta(self) -> ClientMeta:
        """The client's own data."""

    def batch_get_image(self, *, registryId: str, repositoryName: str, imageIds: list[ImageId]) -> FoundImages:  # noqa: N803
        """Get images by tag or digest; images that don't exist are missing in the answer."""


def with_image_digests(ecr: ImageRegistry, package: Package, known: Package | None = None) -> Package:
    """Resolve the tags of a package's images to digests.

    Args:
        ecr: A client of the region that images are pulled from.
        package: The package as the registry describes it.
        known: The same version in the ledger: a digest that was resolved before is kept, even if the tag has moved.

    Returns:
        The package. An image that ECR doesn't return, or that is in another registry, keeps its tag.

    Raises:
        ClientError, BotoCoreError: ECR is throttled or was not reached.
    """
    before = () if known is None or is_another(known, package) else known.containers
    return replace(
        package,
        containers=tuple(
            _resolved(ecr, each, before[number] if number < len(before) else None)
            for number, each in enumerate(package.containers)
        ),
    )


def _resolved(ecr: ImageRegistry, container: Container, before: Container | None) -> Container:
    if not container.image_can_move:
        return container
    if before is not None and before.image == container.image and before.image_digest:
        return replace(container, image_digest=before.image_digest)
    return replace(container, image_digest=_digest(ecr, container.image))


def _digest(ecr: ImageRegistry, image: str) -> str:
    """Return the digest that an image's tag names now; empty if ECR doesn't return it.

    BatchGetImage is one of the permissions to pull an image; AWS's accounts with its own images grant no other.
    """
    found = _ADDRESS.fullmatch(image)
    if found is None or found["region"] != ecr.meta.region_name:
        return ""
    tag = found["tag"] or _LATEST
    try:
        answer = ecr.batch_get_image(
            registryId=found["account"], repositoryName=found["repository"], imageIds=[{"imageTag": tag}]
        )
    except (ClientError, BotoCoreError) as error:
        if is_transient(error):
            raise
        return ""
    digests = {each["imageId"].get("imageDigest", "") for each in answer["images"]}
    # The digest is ambiguous if ECR returns several images.
    digest = digests.pop() if len(digests) == 1 else ""
    return digest if _DIGEST.fullmatch(digest) else ""
