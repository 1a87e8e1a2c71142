"""URLs of the service's pages."""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct

from promotion.links.tokens import Keyring


def path_of(address: str | None) -> str:
    """Return the path of one of the service's URLs; pages link by path, so that a proxy's host name doesn't matter."""
    return "/" + (address or "").partition("//")[2].partition("/")[2]


class Links(Struct, frozen=True, kw_only=True):
    """Absolute addresses of this service's pages. `base_url` has no slash at its end."""

    base_url: str
    keyring: Keyring

    def approval(self, request_id: str) -> str:
        """URL of a request's page, with its signed token."""
        return f"{self.base_url}/approvals/{self.keyring.approval_token(request_id)}"

    def model(self, group: str) -> str:
        """URL of a model package group's page."""
        return f"{self.base_url}/models/{quote(group, safe='')}"

    def version(self, group: str, version: int) -> str:
        """URL of a version's page."""
        return f"{self.model(group)}/versions/{version}"

    def rollback(self, group: str, environment: str) -> str:
        """URL of the form that rolls an environment back."""
        return f"{self.model(group)}/{quote(environment, safe='')}/rollback"

    def revoke(self, group: str, version: int) -> str:
        """URL of the form that revokes a version."""
        return f"{self.version(group, version)}/revoke"

    def board(self) -> str:
        """URL of the board."""
        return f"{self.base_url}/"
