"""Starts ministack, in its own environment, with two things that AWS has and it lacks.

Payload format 2.0 has `cookies`: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html.
aws:PrincipalArn of a role's session is the role: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html.
"""

from __future__ import annotations

from typing import Any

from ministack.app import main  # type: ignore[import-not-found]
from ministack.core import iam_evaluator  # type: ignore[import-not-found]
from ministack.services import lambda_svc  # type: ignore[import-not-found]

execute = lambda_svc._execute_function_with_config_scope
resolve = iam_evaluator._resolve_condition_key


def execute_with_cookies(record: Any, event: Any, *arguments: Any, **named: Any) -> Any:
    if isinstance(event, dict) and event.get("version") == "2.0" and "cookie" in event.get("headers", {}):
        event["cookies"] = event["headers"].pop("cookie").split("; ")
    return execute(record, event, *arguments, **named)


def resolve_with_role(key: str, context: Any) -> Any:
    found = resolve(key, context)
    if key.lower() == "aws:principalarn" and ":assumed-role/" in found:
        # Our roles have no path, which a session's ARN would have lost.
        return found.replace(":sts:", ":iam:").replace(":assumed-role/", ":role/").rpartition("/")[0]
    return found


if __name__ == "__main__":
    lambda_svc._execute_function_with_config_scope = execute_with_cookies
    iam_evaluator._resolve_condition_key = resolve_with_role
    main()
