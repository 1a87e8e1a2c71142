"""The user's identity provider instead of the local one: IDP_ISSUER, IDP_CLIENT_ID and IDP_CLIENT_SECRET."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from promotion.errors import Invalid


@dataclass(frozen=True)
class OwnProvider:
    """A provider that runs elsewhere, and this application's client there."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self | None:
        """Return the provider in the environment variables; None if none is set.

        Raises:
            Invalid: a variable is missing. The secret may be empty, for a public client.
        """
        issuer, client_id = environ.get("IDP_ISSUER", ""), environ.get("IDP_CLIENT_ID", "")
        if not issuer and not client_id:
            return None
        if not issuer or not client_id:
            missing = "IDP_CLIENT_ID" if issuer else "IDP_ISSUER"
            raise Invalid(missing, "IDP_ISSUER and IDP_CLIENT_ID go together; IDP_CLIENT_SECRET may be left out.")
        return cls(issuer, client_id, environ.get("IDP_CLIENT_SECRET", ""))
