"""STS: source identities are stored, and the administrator has a name."""

from __future__ import annotations

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.sts.exceptions import STSValidationError
from moto.sts.responses import TokenResponse

from local import ACCOUNT
from local.aws import callers

_SOURCE_IDENTITY = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    assume = TokenResponse.assume_role
    identify = TokenResponse.get_caller_identity

    def assume_role(self: Any) -> ActionResult:
        """Keep SourceIdentity in the session and in sessions assumed from it, as on AWS; moto drops it."""
        given = self._get_param("SourceIdentity")
        caller = callers.current.get()
        inherited = caller.source_identity if caller is not None else None
        if given is not None and not _SOURCE_IDENTITY.fullmatch(given):
            raise STSValidationError(
                f"1 validation error detected: Value '{given}' at 'sourceIdentity' failed to satisfy constraint: Member "
                "must satisfy regular expression pattern: [\\w+=,.@-]*, and have length from 2 to 64"
            )
        if given is not None and inherited is not None and given != inherited:
            raise STSValidationError("The source identity of a chained session can't be changed.")
        result = assume(self)
        source_identity = given or inherited
        if source_identity is not None:
            result.result["Credentials"].source_identity = source_identity
            result.result["SourceIdentity"] = source_identity
        return result

    def get_caller_identity(self: Any) -> ActionResult:
        caller = callers.current.get()
        if caller is None:
            return identify(self)
        return ActionResult({"UserId": caller.principal_id, "Account": ACCOUNT, "Arn": caller.arn})

    TokenResponse.assume_role = assume_role
    TokenResponse.get_caller_identity = get_caller_identity
