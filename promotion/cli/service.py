"""Address of the deployed service, from the parameter that the stack writes."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.accounts import Accounts, RoutedParameters
from promotion.aws.doctor.cross_account import OPERATOR
from promotion.aws.ledger import DynamoLedger
from promotion.config import loading as configuration
from promotion.config.loading import Config
from promotion.errors import Invalid, Refused


def prefix() -> str:
    return os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX


@cache
def client(service: str) -> Any:
    return boto3.client(service)


@cache
def installation() -> dict[str, Any]:
    """Return the stack's description of itself.

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


@cache
def afar() -> Accounts:
    """The accounts of environments elsewhere, as the role that is there for operators."""
    return Accounts(client("sts"), config().elsewhere, prefix=prefix(), purpose=OPERATOR)


def parameters() -> Any:
    """SSM, in all accounts that there are."""
    elsewhere = tuple(config().elsewhere)
    return RoutedParameters(client("ssm"), elsewhere, _there) if elsewhere else client("ssm")


def _there(environment: str) -> Any:
    try:
        return afar().client(environment)
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        role = names.environment_role(prefix(), environment, OPERATOR)
        raise Refused(
            f"the account of {environment} didn't let you in as {role}.",
            who_may="who is under [operators] principals in what was deployed, and may sts:AssumeRole it",
        ) from None


def config() -> Config:
    return configuration.load()


def ledger() -> DynamoLedger:
    return DynamoLedger(client("dynamodb"), installation()["ledger_table"])
