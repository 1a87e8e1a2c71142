"""Doctor check of the number of parameters, which grows with use, against the limit of an account."""

from __future__ import annotations

from collections.abc import Iterator

from promotion import names
from promotion.aws.doctor.findings import Account, Finding, ok, warn


def parameters(account: Account) -> Iterator[Finding]:
    """Count the parameters under the prefix; near the limit of standard parameters, warn and name the remedy."""
    pages = (
        account.client("ssm")
        .get_paginator("describe_parameters")
        .paginate(ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": [account.prefix]}])
    )
    number = sum(len(page["Parameters"]) for page in pages)
    said = f"{number:,} under {account.prefix}, of {names.MOST_PARAMETERS:,} standard ones that an account may have."
    if number < names.MOST_PARAMETERS * names.NEAR_LIMIT:
        yield ok("parameters", said)
    else:
        yield warn("parameters", said, "docs/operations.md, What grows: tier, cost and what may go.")
