"""The deployed service of an account and region, by the parameter that its stack writes.

Needs only boto3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from promotion import names
from promotion.errors import Invalid

if TYPE_CHECKING:
    from mypy_boto3_ssm.client import SSMClient
    from mypy_boto3_sts.client import STSClient


def installation(ssm: SSMClient, sts: STSClient, prefix: str) -> dict[str, Any]:
    """Return the stack's description of itself.

    Raises:
        Invalid: there is no service under this prefix, in this account and region, or its parameter was overwritten.
    """
    name = names.service_parameter(prefix)
    try:
        return dict(json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"]))
    except ssm.exceptions.ParameterNotFound:
        raise Invalid(
            name,
            f"no service is deployed in {place(ssm, sts)}; is {names.PREFIX}, the account or the region another?",
        ) from None
    except (ValueError, TypeError):
        raise Invalid(name, "this is not what the stack wrote; deploy it again.") from None


def place(ssm: SSMClient, sts: STSClient) -> str:
    """Return the account and the region that calls go to, as far as they can be determined."""
    region = ssm.meta.region_name
    try:
        return f"account {sts.get_caller_identity()['Account']}, {region}"
    except (BotoCoreError, ClientError):
        return str(region)


def check_environment(ssm: SSMClient, sts: STSClient, prefix: str, environment: str) -> None:
    """Compare an environment's name with the deployed ones; not checked if these can't be looked up.

    Raises:
        Invalid: no service is deployed here, or it has no such environment.
    """
    try:
        known = list(installation(ssm, sts, prefix).get("inference_machines") or ())
    except Invalid:
        if _is_account_of(ssm, prefix, environment):
            return
        raise
    except (BotoCoreError, ClientError):
        return
    if known and environment not in known:
        raise Invalid("ENV", f"there is no environment {environment}; there are {', '.join(known)}.")


def _is_account_of(ssm: Any, prefix: str, environment: str) -> bool:
    """Return True in an environment's own account, and if that can't be looked up."""
    try:
        ssm.get_parameter(Name=names.environment_parameter(prefix, environment))
    except ssm.exceptions.ParameterNotFound:
        return False
    except (BotoCoreError, ClientError):
        pass
    return True
