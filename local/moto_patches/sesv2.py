"""SES: existing identities are refused, identities can be verified, and there are account details, unlike in moto."""

from __future__ import annotations

import json
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.sesv2 import urls
from moto.sesv2.models import SESV2Backend, sesv2_backends
from moto.sesv2.responses import SESV2Response

from local import ACCOUNT, REGION


class _AlreadyExists(JsonRESTError):  # type: ignore[misc,unused-ignore]
    code = 400

    def __init__(self, identity: str) -> None:
        super().__init__("AlreadyExistsException", f"Email identity {identity} already exist.")


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    create = SESV2Backend.create_email_identity

    def create_email_identity(self: Any, email_identity: str, *given: Any, **named: Any) -> Any:
        """Refuse an identity that exists.

        https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_CreateEmailIdentity.html, Errors.
        """
        if email_identity in self.core_backend.email_identities:
            raise _AlreadyExists(email_identity)
        return create(self, email_identity, *given, **named)

    def get_account(self: Any) -> str:
        """Return the account's details.

        https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html
        """
        return json.dumps({"SendingEnabled": True, "ProductionAccessEnabled": True})

    SESV2Backend.create_email_identity = create_email_identity
    SESV2Response.get_account = get_account
    urls.url_paths["{0}/v2/email/account$"] = SESV2Response.dispatch


def verify(identity: str) -> None:
    """Mark an identity as verified, as its DNS records would."""
    core = sesv2_backends[ACCOUNT][REGION].core_backend
    core.email_identities[identity].verified_for_sending_status = True
