"""`promotion endpoint status`: the ledger's state of an endpoint, and SageMaker's state now."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from promotion import names
from promotion.cli.reading import endpoint_line
from promotion.cli.service import client, config, ledger, prefix
from promotion.cli.tables import print_line
from promotion.errors import Invalid


def status(group: str, environment: str, *, as_json: bool) -> int:
    """Print the wanted endpoint, the last recorded state, and SageMaker's state.

    Raises:
        Invalid: the group has no endpoint in this environment, and none is configured.
    """
    rules = config().environment(environment, group)
    state = ledger().view(group).environment(environment)
    settings = rules.endpoint if rules.endpoint is not None and rules.endpoint.serves(group) else None
    if settings is None and not state.endpoint.status:
        raise Invalid(
            "ENV",
            f"{environment} has no endpoint for {group}: see [advanced.environments.{environment}.endpoint] in promotion.toml.",
        )
    name = names.endpoint_name(settings.name, prefix(), environment, group) if settings else state.endpoint.name
    found = _described(name) if environment not in config().cross_account else {"unknown": "it is in another account"}
    if as_json:
        known = msgspec.to_builtins(state.endpoint)
        print(
            json.dumps(
                {"endpoint": name, "live": state.live, "recorded": known, "sagemaker": found}, indent=2, default=str
            )
        )
        return 0
    seen = state.endpoint.status or state.endpoint.removed
    print_line(
        f"{group} in {environment}: {endpoint_line(state.endpoint) if seen else f'the endpoint {name} is not there yet.'}"
    )
    print(f"  live       {f'v{state.live}' if state.live is not None else 'nothing'}")
    print_line(f"  SageMaker  {_status_line(found)}")
    return 0


def _described(name: str) -> dict[str, object]:
    try:
        answer: Mapping[str, object] = client("sagemaker").describe_endpoint(EndpointName=name)
    except (ClientError, BotoCoreError) as error:
        return {"unknown": str(error)}
    wanted = ("EndpointStatus", "EndpointConfigName", "FailureReason", "LastModifiedTime")
    return {key: answer[key] for key in wanted if answer.get(key) is not None}


def _status_line(found: Mapping[str, object]) -> str:
    if "unknown" in found:
        return str(found["unknown"])
    reason = f": {found['FailureReason']}" if found.get("FailureReason") else ""
    return f"{found['EndpointStatus']} with {found['EndpointConfigName']}{reason}"
