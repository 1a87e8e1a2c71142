"""Starts ministack, in its own environment, with the one thing that payload format 2.0 has and it lacks: `cookies`.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

from typing import Any

from ministack.app import main  # type: ignore[import-not-found]
from ministack.services import lambda_svc  # type: ignore[import-not-found]

execute = lambda_svc._execute_function_with_config_scope


def execute_with_cookies(record: Any, event: Any, *arguments: Any, **named: Any) -> Any:
    if isinstance(event, dict) and event.get("version") == "2.0" and "cookie" in event.get("headers", {}):
        event["cookies"] = event["headers"].pop("cookie").split("; ")
    return execute(record, event, *arguments, **named)


if __name__ == "__main__":
    lambda_svc._execute_function_with_config_scope = execute_with_cookies
    main()
