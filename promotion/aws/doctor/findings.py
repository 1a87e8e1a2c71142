"""Findings of `promotion doctor`: one line a check; a check that fails to run is a finding too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from msgspec import Struct

from promotion.aws.clients import ClientFor
from promotion.config.loading import Config
from promotion.errors import PromotionError, require
from promotion.formatting import one_line

State = Literal["ok", "warn", "fail", "not checked"]
Check = Callable[[], Iterable["Finding"]]

_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "AccessDeniedFault", "UnauthorizedOperation", "Forbidden", "403"}
)


class Finding(Struct, frozen=True, kw_only=True):
    """Result of a check, and what to do; only `fail` means that something can't work."""

    check: str
    state: State
    found: str
    do: str = ""


class Account(Struct, frozen=True, kw_only=True):
    """The account to check; `service` is the stack's own description, or None before a deployment."""

    client: ClientFor
    region: str
    prefix: str
    config: Config | None
    service: Mapping[str, Any] | None = None

    @property
    def settings(self) -> Config:
        """The configuration, for checks that run only if there is one."""
        return require(self.config, "this installation", "configuration")

    @property
    def deployed(self) -> Mapping[str, Any]:
        """The stack's description, for checks that run only after a deployment."""
        return require(self.service, "this account", "deployed service")


def ok(check: str, found: str) -> Finding:
    return Finding(check=check, state="ok", found=found)


def warn(check: str, found: str, do: str) -> Finding:
    return Finding(check=check, state="warn", found=found, do=do)


def fail(check: str, found: str, do: str) -> Finding:
    return Finding(check=check, state="fail", found=found, do=do)


def not_checked(check: str, why: str, do: str = "") -> Finding:
    return Finding(check=check, state="not checked", found=why, do=do)


def examine(name: str, check: Check) -> list[Finding]:
    """Run a check; if AWS denies access, the denial is the finding."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except ClientError as error:
        found.append(_refused(name, error))
    except ResponseParserError:
        found.append(fail(name, "the answer is none of AWS's.", "Is there a proxy in between?"))
    except BotoCoreError as error:
        said = f"AWS could not be asked: {one_line(str(error)).rstrip('.')}."
        found.append(fail(name, said, "Mend the network, the profile or the region."))
    except PromotionError as error:
        found.append(fail(name, str(error), "Mend what it names."))
    return found


def _refused(name: str, error: ClientError) -> Finding:
    code, operation = str(error.response["Error"]["Code"]), error.operation_name
    if code in _DENIED:
        return not_checked(name, f"these credentials may not call {operation}.", "Run it as somebody who may.")
    message = one_line(str(error.response["Error"].get("Message", "")))
    return fail(name, f"{operation} answered {code}: {message}", "Mend what it names.")
