"""Permissions of a principal of another account, by the policies of both sides, and the accounts of accounts.toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.infra.simulation import allowed
from tests.infra.synthesized import Template

CONFIG = Path(__file__).parent / "accounts.toml"
SERVICE = "111111111111"
ACCOUNTS = {"test": "222222222222", "uat": "333333333333", "prod": "444444444444"}
OTHERS = "999999999999"


def role(account: str, name: str) -> str:
    return f"arn:aws:iam::{account}:role/{name}"


def named(template: Template, name: str) -> str:
    """Logical id of the role of a name."""
    (found,) = (key for key, each in template.of_type("AWS::IAM::Role").items() if each.get("RoleName") == name)
    return found


def lets_in(
    statements: list[dict[str, Any]], caller: str, action: str, resource: str, context: Mapping[str, str]
) -> bool:
    """Return True if a resource's policy allows a principal of another account, named by its ARN or its account's."""
    account = caller.split(":")[4]
    known = {"*", caller, account, f"arn:aws:iam::{account}:root", f"arn:<AWS::Partition>:iam::{account}:root"}
    applying = []
    for statement in statements:
        principal = statement["Principal"]
        given = principal if isinstance(principal, str) else principal.get("AWS", [])
        if known & set([given] if isinstance(given, str) else given):
            applying.append({"Resource": resource, **statement})
    return allowed(applying, action, resource, {**context, "aws:PrincipalArn": caller})


def trust(template: Template, name: str) -> list[dict[str, Any]]:
    document = template.of_type("AWS::IAM::Role")[named(template, name)]["AssumeRolePolicyDocument"]
    return list(document["Statement"])
