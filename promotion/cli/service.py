"""Address of the deployed service, from the parameter that the stack writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from promotion import names
from promotion.aws.accounts import Accounts, RoutedParameters
from promotion.aws.doctor.cross_account import OPERATOR
from promotion.aws.ledger_table.differences import DynamoDifferences
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.aws.messages.refused_mail import RefusedMails
from promotion.client import place
from promotion.config import loading as configuration
from promotion.config.loading import Config
from promotion.errors import Invalid, Refused
from promotion.ledger.events import OpenDifferences, RefusedMail
from promotion.ledger.payloads import PolicyChanged

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

    from promotion.aws.accounts import Parameters
    from promotion.aws.clients import CachedClients


def prefix() -> str:
    return os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX


@cache
def _client(service: str) -> object:
    make: Callable[..., object] = boto3.client
    return make(service)


client = cast("CachedClients", _client)


@cache
def installation() -> dict[str, Any]:
    """Return the stack's description of itself.

    Raises:
        Invalid: there is no service under this prefix, in this account and region.
    """
    return place.installation(client("ssm"), client("sts"), prefix())


@cache
def afar() -> Accounts:
    """Return clients in other accounts of environments, which assume the operators' role there."""
    return Accounts(client("sts"), config().cross_account, prefix=prefix(), purpose=OPERATOR)


def parameters() -> Parameters:
    """Return a client of Parameter Store that covers the accounts of all environments."""
    elsewhere = tuple(config().cross_account)
    return RoutedParameters(client("ssm"), elsewhere, _there) if elsewhere else client("ssm")


def _there(environment: str) -> SSMClient:
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


def config_of(group: str) -> Config:
    """Return the configuration; without a file, the policy in the ledger of `group` (environments, gates, freezes).

    Raises:
        Invalid: the file is invalid, or there is neither a file nor a policy in the ledger.
    """
    try:
        return config()
    except Invalid:
        if os.environ.get(names.CONFIG) or Path(names.CONFIG_FILE).exists():
            raise
        recorded = _recorded(group)
        if recorded is None:
            raise
        return recorded


def _recorded(group: str) -> Config | None:
    """Return the policy in force, from the newest event that recorded one."""
    policies = [event.payload.policy for event in ledger().events(group) if isinstance(event.payload, PolicyChanged)]
    if not policies:
        return None
    # Placeholders: a policy contains neither identity provider nor sender, and no caller of this function needs them.
    unknown = {"identity": {"issuer": "", "client_id": ""}, "mail": {"sender": ""}}
    return msgspec.convert({**unknown, **policies[-1]}, Config, strict=False)


def refused_mail(group: str | None) -> list[RefusedMail]:
    """Return the mail that SES refuses permanently, of a group or of all; empty if the caller may not read it."""
    try:
        return RefusedMails(client("dynamodb"), installation()["projections_table"]).read(group)
    except (BotoCoreError, ClientError, KeyError):
        return []


def open_differences() -> dict[str, OpenDifferences]:
    """Return the differences that the last verification found, by group; empty if the caller may not read them."""
    try:
        return DynamoDifferences(client("dynamodb"), installation()["projections_table"]).open()
    except (BotoCoreError, ClientError, KeyError):
        return {}


def ledger() -> DynamoLedger:
    return DynamoLedger(client("dynamodb"), installation()["ledger_table"])
