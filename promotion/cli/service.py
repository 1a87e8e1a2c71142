"""Where the deployed service is: found by AWS alone, from the parameter that the stack writes."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

import boto3

from promotion import config as configuration
from promotion import names
from promotion.aws.ledger import DynamoLedger
from promotion.config import Config
from promotion.errors import Invalid


def prefix() -> str:
    return os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX


@cache
def client(service: str) -> Any:
    return boto3.client(service)


@cache
def installation() -> dict[str, Any]:
    """What the stack wrote about itself.

    Raises:
        Invalid: there is no service under this prefix, in this account and region.
    """
    name = names.service_parameter(prefix())
    ssm = client("ssm")
    try:
        found = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        raise Invalid(
            name, f"no service is deployed here; is {names.PREFIX}, the account or the region another?"
        ) from None
    return dict(found)


def config() -> Config:
    return configuration.load()


def ledger() -> DynamoLedger:
    return DynamoLedger(client("dynamodb"), installation()["ledger_table"])
