"""SES: an identity that is there already isn't made again; moto replaces it."""

from __future__ import annotations

from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.sesv2.models import SESV2Backend


class _AlreadyExists(JsonRESTError):  # type: ignore[misc,unused-ignore]
    code = 400

    def __init__(self, identity: str) -> None:
        super().__init__("AlreadyExistsException", f"Email identity {identity} already exist.")


def mend() -> None:
    """Puts the mended operation in moto's place."""
    create = SESV2Backend.create_email_identity

    def create_email_identity(self: Any, email_identity: str, *given: Any, **named: Any) -> Any:
        """https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_CreateEmailIdentity.html, Errors."""
        if email_identity in self.core_backend.email_identities:
            raise _AlreadyExists(email_identity)
        return create(self, email_identity, *given, **named)

    SESV2Backend.create_email_identity = create_email_identity
