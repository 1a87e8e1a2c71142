"""Environments in accounts of their own: parameters through assumed roles, and read access to packages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import boto3
from botocore.exceptions import ClientError

from promotion import names
from promotion.config.resources import partition_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_ssm.type_defs import (
        GetParameterResultTypeDef,
        GetParametersByPathResultTypeDef,
        PutParameterRequestTypeDef,
        PutParameterResultTypeDef,
    )
    from mypy_boto3_sts import STSClient
    from typing_extensions import Unpack

    from promotion.aws.clients import ClientFor

    Parameters: TypeAlias = "SSMClient | RoutedParameters"

SESSION_LIFETIME_S = 900
READS = ["sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup", "sagemaker:ListModelPackages"]
STATEMENT = "PromotionReads"


class Accounts:
    """Clients in the environments' accounts, as the role of one purpose there."""

    def __init__(self, sts: STSClient, accounts: Mapping[str, str], *, prefix: str, purpose: str) -> None:
        self._sts = sts
        self._accounts = accounts
        self._prefix = prefix
        self._purpose = purpose
        self._kept: dict[tuple[str, str], tuple[float, SSMClient]] = {}

    def clients(self, environment: str) -> ClientFor:
        """Clients by service, in the account of `environment`."""
        return cast("ClientFor", partial(self._client, environment))

    def client(self, environment: str) -> SSMClient:
        """The client of Parameter Store in the account of `environment`."""
        return self.clients(environment)("ssm")

    def _client(self, environment: str, service: Literal["ssm"]) -> SSMClient:
        """Return a client of a service in the account of `environment`; cached for half a session's lifetime."""
        kept = self._kept.get((environment, service))
        if kept and time.monotonic() < kept[0]:
            return kept[1]
        role = names.environment_role(self._prefix, environment, self._purpose)
        partition = partition_of(self._sts.meta.region_name or "")
        credentials = self._sts.assume_role(
            RoleArn=f"arn:{partition}:iam::{self._accounts[environment]}:role/{role}",
            RoleSessionName=names.SERVICE,
            ExternalId=names.external_id(self._prefix, environment),
            DurationSeconds=SESSION_LIFETIME_S,
        )["Credentials"]
        made = boto3.client(
            service,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )
        self._kept[environment, service] = (time.monotonic() + SESSION_LIFETIME_S / 2, made)
        return made


class RoutedParameters:
    """The part of an SSM client that this service uses; each live parameter goes to its environment's account.

    All other parameters, such as the histories of versions, stay in the registry's account.
    """

    def __init__(self, home: SSMClient, environments: Sequence[str], elsewhere: Callable[[str], SSMClient]) -> None:
        self.home = home
        self._environments = tuple(environments)
        self._elsewhere = elsewhere
        self.exceptions = home.exceptions

    def get_parameter(self, *, Name: str) -> GetParameterResultTypeDef:  # noqa: N803 - the API's own names
        return self._of(Name).get_parameter(Name=Name)

    def put_parameter(self, **given: Unpack[PutParameterRequestTypeDef]) -> PutParameterResultTypeDef:
        return self._of(given["Name"]).put_parameter(**given)

    def delete_parameter(self, *, Name: str) -> Mapping[str, object]:  # noqa: N803
        return self._of(Name).delete_parameter(Name=Name)

    def get_paginator(self, operation: Literal["get_parameters_by_path"], /) -> _Pages:
        """Return pages of the registry's account first, then of each other account."""
        return _Pages(operation, [lambda: self.home, *(self._in(name) for name in self._environments)])

    def _in(self, environment: str) -> Callable[[], SSMClient]:
        return lambda: self._elsewhere(environment)

    def _of(self, name: str) -> SSMClient:
        *_, environment, last = name.rsplit("/", 2)
        return self._elsewhere(environment) if last == "live" and environment in self._environments else self.home


class _Pages:
    def __init__(
        self, operation: Literal["get_parameters_by_path"], clients: Sequence[Callable[[], SSMClient]]
    ) -> None:
        self._operation = operation
        self._clients = clients

    def paginate(self, *, Path: str, Recursive: bool) -> Iterator[GetParametersByPathResultTypeDef]:  # noqa: N803
        for client in self._clients:
            yield from client().get_paginator(self._operation).paginate(Path=Path, Recursive=Recursive)


def share_group(client: SageMakerClient, package_arn: str, group: str, readers: Sequence[str]) -> bool:
    """Grant `readers` (role ARNs) access by the group's resource policy; return True if it was updated.

    Statements that others added stay unchanged. A policy that can't be read raises an error; it is not treated as
    empty.
    """
    found = _policy(client, group)
    arn = package_arn.rpartition("/")[0]
    wanted = {
        "Sid": STATEMENT,
        "Effect": "Allow",
        "Principal": {"AWS": sorted(readers)},
        "Action": READS,
        "Resource": [arn.replace(":model-package/", ":model-package-group/"), f"{arn}/*"],
    }
    statements = found.get("Statement") or []
    statements = [statements] if isinstance(statements, dict) else statements
    if wanted in statements:
        return False
    others = [statement for statement in statements if statement.get("Sid") != STATEMENT]
    document = {"Version": "2012-10-17", **found, "Statement": [*others, wanted]}
    client.put_model_package_group_policy(ModelPackageGroupName=group, ResourcePolicy=json.dumps(document))
    return True


def _policy(client: SageMakerClient, group: str) -> dict[str, Any]:
    try:
        text = client.get_model_package_group_policy(ModelPackageGroupName=group)["ResourcePolicy"]
    except ClientError as error:
        said = error.response["Error"]
        missing = any(word in said.get("Message", "").lower() for word in ("cannot find", "not found", "not exist"))
        if said["Code"] in ("ValidationException", "ResourceNotFound") and missing:
            return {}
        raise
    return dict(json.loads(text))
