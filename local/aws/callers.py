"""Callers by access key: the administrator, an IAM user, or a session of a role."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from local import ACCOUNT, ADMINISTRATOR_ARN, ADMINISTRATOR_KEY, ADMINISTRATOR_SECRET, REGION
from local.aws import policies

_EVERYTHING: policies.Document = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")


class UnknownCaller(Exception):
    """The access key or its session token was not issued here."""


@dataclass(frozen=True)
class Caller:
    """An identity with its secret key; `role` names the role if it is a role session."""

    arn: str
    principal_id: str
    access_key: str
    secret_key: str
    role: str | None = None
    user: str | None = None
    session_token: str | None = None
    source_identity: str | None = None

    @property
    def is_administrator(self) -> bool:
        return self.arn == ADMINISTRATOR_ARN

    @property
    def principals(self) -> tuple[str, ...]:
        """ARNs by which a resource's policy can name this caller directly."""
        names: list[str] = [self.arn]
        if self.role is not None:
            names.append(_iam().get_role(self.role).arn)
        return tuple(names)

    def policies(self) -> list[policies.Document]:
        """The caller's current identity policies."""
        if self.is_administrator:
            return [_EVERYTHING]
        if self.role is not None:
            return _policies_of_role(self.role)
        return _policies_of_user(self.user) if self.user is not None else []

    def identity(self) -> dict[str, Any]:
        """Return the identity in SageMaker's form for CreatedBy and LastModifiedBy."""
        iam = {"Arn": self.arn, "PrincipalId": self.principal_id}
        return {"IamIdentity": iam | ({"SourceIdentity": self.source_identity} if self.source_identity else {})}


ADMINISTRATOR = Caller(
    arn=ADMINISTRATOR_ARN,
    principal_id="AIDAADMINISTRATOR000",
    access_key=ADMINISTRATOR_KEY,
    secret_key=ADMINISTRATOR_SECRET,
)
current: ContextVar[Caller | None] = ContextVar("current", default=None)


def _iam() -> Any:
    return iam_backends[ACCOUNT]["aws"]


def credential_scope(authorization: str) -> tuple[str, str] | None:
    """Return the access key and the service in a request's signature; None if it isn't signed."""
    match = _CREDENTIAL.search(authorization)
    return (match[1], match[4].lower()) if match else None


def find(access_key: str, session_token: str | None) -> Caller:
    """Return the identity of an access key.

    Raises:
        UnknownCaller: the key is unknown, or the session token doesn't belong to it.
    """
    if access_key == ADMINISTRATOR_KEY:
        return ADMINISTRATOR
    session = next(
        (s for s in reversed(sts_backends[ACCOUNT]["aws"].assumed_roles) if s.access_key_id == access_key), None
    )
    if session is not None:
        if session_token != session.session_token:
            raise UnknownCaller(access_key)
        return Caller(
            arn=session.arn,
            principal_id=session.user_id,
            access_key=access_key,
            secret_key=session.secret_access_key,
            role=session.role_arn.split("/")[-1],
            session_token=session.session_token,
            source_identity=getattr(session, "source_identity", None),
        )
    for user in _iam().list_users("/", None, None):
        for key in user.access_keys:
            if key.access_key_id == access_key and key.status == "Active":
                return Caller(
                    arn=user.arn,
                    principal_id=user.id,
                    access_key=access_key,
                    secret_key=key.secret_access_key,
                    user=user.name,
                )
    raise UnknownCaller(access_key)


def _policies_of_role(name: str) -> list[policies.Document]:
    iam = _iam()
    inline = [iam.get_role_policy(name, policy)[1] for policy in iam.list_role_policies(name)]
    attached = [_default_version(policy) for policy in iam.list_attached_role_policies(name)[0]]
    return [policies.parse(document) for document in (*inline, *attached)]


def _policies_of_user(name: str) -> list[policies.Document]:
    iam = _iam()
    found = [iam.get_user_policy(name, policy)["policy_document"] for policy in iam.list_user_policies(name)]
    found += [_default_version(policy) for policy in iam.list_attached_user_policies(name)[0]]
    for group in iam.get_groups_for_user(name):
        found += [iam.get_group_policy(group.name, p)["policy_document"] for p in iam.list_group_policies(group.name)]
        found += [_default_version(policy) for policy in iam.list_attached_group_policies(group.name)[0]]
    return [policies.parse(document) for document in found]


def _default_version(policy: Any) -> str:
    document: str = next(version.document for version in policy.versions if version.is_default)
    return document


def trust_policy(role: str) -> policies.Document:
    return policies.parse(_iam().get_role(role).assume_role_policy_document)


def service_session(role_arn: str, session_name: str, service: str | Sequence[str]) -> Mapping[str, str]:
    """Return credentials, as boto3's arguments, of a role that an AWS service assumes if the trust policy allows it.

    Raises:
        PermissionError: the role's trust policy doesn't allow this service.
    """
    services = [service] if isinstance(service, str) else list(service)
    role = role_arn.split("/")[-1]
    if not policies.trusts(trust_policy(role), "sts:AssumeRole", services, {"aws:SourceAccount": ACCOUNT}):
        raise PermissionError(f"The trust policy of {role_arn} does not let {services[0]} assume it.")
    session = sts_backends[ACCOUNT]["aws"].assume_role(
        region_name=REGION,
        role_session_name=session_name[:64],
        role_arn=role_arn,
        policy=None,
        duration=43200,
        external_id=None,
    )
    return {
        "aws_access_key_id": session.access_key_id,
        "aws_secret_access_key": session.secret_access_key,
        "aws_session_token": session.session_token,
    }
