"""ECR: repositories belong to an account, and an image's digest is the SHA-256 of its manifest."""

from __future__ import annotations

import hashlib
from typing import Any

from moto.ecr.exceptions import RepositoryNotFoundException
from moto.ecr.models import ECRBackend, Image


def mend() -> None:
    """Replace moto's operations that ignore the named account and the manifest."""
    found = ECRBackend.batch_get_image

    def batch_get_image(
        self: ECRBackend,
        repository_name: str,
        registry_id: str | None = None,
        image_ids: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Find repositories of the named account only; moto ignores the account."""
        if registry_id and registry_id != self.account_id:
            raise RepositoryNotFoundException(repository_name, registry_id)
        answer: dict[str, Any] = found(self, repository_name, registry_id, image_ids)
        return answer

    def create_digest(self: Image) -> None:
        """Set the digest to the SHA-256 of the manifest; moto uses only the layers' digests."""
        self._image_digest = f"sha256:{hashlib.sha256(self.image_manifest.encode()).hexdigest()}"

    ECRBackend.batch_get_image = batch_get_image
    Image._create_digest = create_digest
