"""Evaluate IAM policy documents (actions, resources, conditions) as AWS does within one account."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
Context = Mapping[str, str | Sequence[str]]


class _UnknownOperator(Exception):
    """A condition compares by an operator that the local service doesn't know, such as one of dates."""


def decision(
    action: str,
    resource: str,
    context: Context,
    *,
    identity: Iterable[Document],
    on_resource: Iterable[Document] = (),
    principals: Sequence[str] = (),
) -> bool:
    """Return True if some policy allows a call and none denies it.

    `identity` are the caller's policies, and `on_resource` the resource's policies, in which `principals` are the names
    of the caller.
    """
    allowed = False
    for document, theirs in [*((d, False) for d in identity), *((d, True) for d in on_resource)]:
        for statement in statements(document):
            if theirs and not _speaks_of(statement, principals):
                continue
            if not (_concerns(statement, "Action", action) and _concerns(statement, "Resource", resource, theirs)):
                continue
            try:
                holds = _conditions_hold(statement.get("Condition", {}), context)
            except _UnknownOperator:
                # A condition that can't be evaluated here must not allow anything.
                holds = statement["Effect"] == "Deny"
            if not holds:
                continue
            if statement["Effect"] == "Deny":
                return False
            allowed = True
    return allowed


def trusts(document: Document, action: str, principals: Sequence[str], context: Context) -> bool:
    """Return True if a role's trust policy lets one of `principals` do `action` (sts:AssumeRole, sts:SetSourceIdentity)."""
    return decision(action, "*", context, identity=(), on_resource=(document,), principals=principals)


def statements(document: Document) -> list[dict[str, Any]]:
    found = document.get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def parse(document: str | Document) -> Document:
    return json.loads(document) if isinstance(document, str) else document


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _like(pattern: str, text: str) -> bool:
    # fnmatch knows character classes, which IAM does not.
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), text) is not None


def _concerns(statement: Mapping[str, Any], element: str, value: str, optional: bool = False) -> bool:
    if element in statement:
        patterns = _listed(statement[element])
        negated = False
    elif f"Not{element}" in statement:
        patterns = _listed(statement[f"Not{element}"])
        negated = True
    else:
        return optional
    if element == "Action":
        patterns, value = [pattern.lower() for pattern in patterns], value.lower()
    return any(_like(pattern, value) for pattern in patterns) != negated


def _speaks_of(statement: Mapping[str, Any], principals: Sequence[str]) -> bool:
    if "NotPrincipal" in statement:
        return not _speaks_of({"Principal": statement["NotPrincipal"]}, principals)
    principal = statement.get("Principal", {})
    if isinstance(principal, str):
        return principal == "*"
    for kind in ("AWS", "Service", "Federated", "CanonicalUser"):
        for name in _listed(principal.get(kind, [])):
            if name == "*" or name in principals:
                return True
            # An account as principal means its root, which delegates to the account's identity policies.
            if f"arn:aws:iam::{name}:root" in principals:
                return True
    return False


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    lowered = {key.lower(): value for key, value in context.items()}
    for operator, wanted in conditions.items():
        for key, values in wanted.items():
            if not _condition_holds(operator, _listed(values), lowered.get(key.lower())):
                return False
    return True


def _condition_holds(operator: str, wanted: list[Any], actual: str | Sequence[str] | None) -> bool:
    quantifier, _, rest = operator.rpartition(":")
    name = rest.removesuffix("IfExists")
    if name == "Null":
        return (actual is None) == (str(wanted[0]).lower() == "true")
    if actual is None or (not isinstance(actual, str) and not actual):
        return rest.endswith("IfExists") or quantifier == "ForAllValues" or "Not" in name
    values = [actual] if isinstance(actual, str) else list(actual)
    negated = "Not" in name
    positive = name.replace("Not", "", 1)

    def one(value: str) -> bool:
        return any(_compare(positive, str(each), value) for each in wanted) != negated

    return all(map(one, values)) if quantifier == "ForAllValues" else any(map(one, values))


def _compare(operator: str, wanted: str, actual: str) -> bool:
    match operator:
        case "StringEquals":
            return wanted == actual
        case "StringEqualsIgnoreCase" | "Bool":
            return wanted.lower() == actual.lower()
        case "StringLike" | "ArnLike" | "ArnEquals":
            return _like(wanted, actual)
        case _:
            raise _UnknownOperator(operator)
