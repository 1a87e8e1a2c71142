"""IAM's decision over statements of the template, conditions included, for what no emulator evaluates.

Deny wins over allow, and without an allow the answer is no. Operators that it doesn't know raise: a simulation that
guesses would approve.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.infra.synthesized import actions, resources

Context = Mapping[str, str]


def allowed(
    statements: Sequence[Mapping[str, Any]], action: str, resource: str, context: Context | None = None
) -> bool:
    """Return True if the statements allow `action` on `resource` in this context."""
    applying = [s["Effect"] for s in statements if _applies(s, action, resource, context or {})]
    return "Allow" in applying and "Deny" not in applying


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    return (
        any(_like(pattern.lower(), action.lower()) for pattern in actions(statement))
        and any(_like(pattern, resource) for pattern in resources(statement))
        and all(
            _holds(operator, key, wanted if isinstance(wanted, list) else [wanted], context)
            for operator, pairs in statement.get("Condition", {}).items()
            for key, wanted in pairs.items()
        )
    )


def _holds(operator: str, key: str, wanted: Sequence[str], context: Context) -> bool:
    given = {name.lower(): value for name, value in context.items()}.get(key.lower())
    if operator.endswith("IfExists"):
        if given is None:
            return True
        operator = operator.removesuffix("IfExists")
    match operator:
        case "StringEquals" | "Bool":
            return given is not None and given in wanted
        case "StringLike" | "ArnLike" | "ArnEquals":
            return given is not None and any(_like(pattern, given) for pattern in wanted)
        # Without the key a negated operator holds: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
        case "StringNotEquals":
            return given is None or given not in wanted
        case "ArnNotEquals" | "ArnNotLike":
            return given is None or not any(_like(pattern, given) for pattern in wanted)
        # Given one value or none; without the key it holds, as in IAM.
        case "ForAllValues:StringEquals":
            return given is None or given in wanted
        case "Null":
            return (given is None) == (wanted[0] == "true")
    raise NotImplementedError(f"condition operator {operator}")


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None
