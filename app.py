"""The CDK app: `cdk deploy` runs this file, and so does the local service."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, cast

from infra.assembly import assemble
from promotion import names
from promotion.errors import Invalid, Refused

if TYPE_CHECKING:
    from promotion.aws.clients import ClientFor


def check_departures() -> None:
    """Refuse a deployment that leaves live models without an environment. Only where the CDK found an account to deploy
    into; a deployer who may not read the ledger is told that this was not checked.

    Raises:
        Refused: an environment with live models has left the configuration.
    """
    if not os.environ.get("CDK_DEFAULT_ACCOUNT"):
        return
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    from promotion.aws import departures
    from promotion.config import loading

    patience = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})
    session = boto3.Session(region_name=os.environ.get("CDK_DEFAULT_REGION"))
    prefix = os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX
    try:
        departures.check(loading.load(), cast("ClientFor", partial(session.client, config=patience)), prefix)
    except (BotoCoreError, ClientError) as error:
        print(f"Nobody looked for models in environments that have left promotion.toml: {error}", file=sys.stderr)


def find_kept() -> dict[str, str] | None:
    """Return what an earlier installation left, if `[advanced] ledger_table` names its table.

    Raises:
        Invalid: there isn't, or it can't be asked for.
    """
    from promotion.config import loading

    table = loading.load().ledger_table
    if table is None:
        return None
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from promotion.aws import kept

    session = boto3.Session(region_name=os.environ.get("CDK_DEFAULT_REGION"))
    try:
        return kept.find(table, session.client)
    except (BotoCoreError, ClientError) as error:
        raise Invalid("advanced.ledger_table", f"AWS can't be asked about {table}: {error}") from None


def tell_suspicions() -> None:
    """Print settings on standard error that are allowed but look like a mistake."""
    from promotion.config import identity, loading

    for suspicion in identity.suspicions(loading.load()):
        print(f"{names.CONFIG_FILE} {suspicion}", file=sys.stderr)


if __name__ == "__main__":
    try:
        tell_suspicions()
        check_departures()
        assemble(kept=find_kept()).synth()
    except (Invalid, Refused) as error:
        sys.exit(str(error))
