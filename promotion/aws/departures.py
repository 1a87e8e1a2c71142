"""Check, before a deployment, that no environment with live models is removed from the configuration."""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.clients import ClientFor
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.config.loading import Config
from promotion.domain.model import EnvironmentState
from promotion.errors import Refused


def left_behind(config: Config, client: ClientFor, prefix: str) -> list[EnvironmentState]:
    """Environments with live models that the new configuration no longer contains; none if not deployed."""
    try:
        found = client("ssm").get_parameter(Name=names.service_parameter(prefix))
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return []
        raise
    ledger = DynamoLedger(client("dynamodb"), json.loads(found["Parameter"]["Value"])["ledger_table"])
    kept = {*config.environment_names, *config.retired}
    return [
        state
        for state in ledger.environments()
        if state.live is not None and state.name not in kept and config.governs(state.group)
    ]


def check(config: Config, client: ClientFor, prefix: str) -> None:
    """Check that the new configuration contains every environment with live models.

    Raises:
        Refused: an environment is missing; the message names its live models and what to do.
    """
    left = left_behind(config, client, prefix)
    if not left:
        return
    said = "; ".join(f"{state.group} v{state.live} in {state.name}" for state in left[:10])
    more = f" and {len(left) - 10} more" if len(left) > 10 else ""
    gone = sorted({state.name for state in left})
    raise Refused(
        f"promotion.toml has no {' or '.join(gone)} any more, and models are live there: {said}{more}. A renamed environment is "
        "a new one. Put it back, promote into the new one first and move the pipelines, and then name the old one under "
        f"[advanced]: retired = {json.dumps(gone)}. docs/environments.md has the steps."
    )
