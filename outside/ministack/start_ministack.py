"""Starts ministack, in its own environment, with three things that AWS has and it lacks.

Payload format 2.0 has `cookies`: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html.
aws:PrincipalArn of a role's session is the role: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html.
AWS::Lambda::ResourcePolicy is the whole policy of a function:
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-resourcepolicy.html.
"""

from __future__ import annotations

from typing import Any

from ministack.app import main  # type: ignore[import-not-found]
from ministack.core import iam_evaluator  # type: ignore[import-not-found]
from ministack.services import lambda_svc  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

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


def put_policy(name: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
    function, _, arn, _ = provisioners._lambda_function_for_cfn_ref(properties["ResourceArn"])
    if function is None:
        raise ValueError(f"AWS::Lambda::ResourcePolicy {name}: there is no function {properties['ResourceArn']}")
    function["policy"] = properties["PolicyDocument"]
    return arn, {}


def delete_policy(physical_id: str, properties: dict[str, Any]) -> None:
    function, _, _, _ = provisioners._lambda_function_for_cfn_ref(properties["ResourceArn"])
    if function is not None:
        function["policy"] = {"Version": "2012-10-17", "Statement": []}


if __name__ == "__main__":
    provisioners._RESOURCE_HANDLERS["AWS::Lambda::ResourcePolicy"] = {"create": put_policy, "delete": delete_policy}
    lambda_svc._execute_function_with_config_scope = execute_with_cookies
    iam_evaluator._resolve_condition_key = resolve_with_role
    main()
