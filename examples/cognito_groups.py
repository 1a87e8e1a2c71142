"""A Cognito pre token generation function that makes the directory's groups a claim.

A user pool that federates with Active Directory (SAML or OpenID Connect) keeps the directory's groups as text in an attribute,
`custom:groups`, such as `[ml-dev-approvers, staff]`. `cognito:groups` holds groups of the pool itself, which nobody in the
directory manages. Attach this function as trigger "Pre token generation", event version V2_0 (a plan of Essentials or above),
and set `groups_claim = "groups"`: the directory decides again who may approve.

https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-pre-token-generation.html
"""

from __future__ import annotations

import json
from typing import Any

ATTRIBUTE = "custom:groups"
CLAIM = "groups"


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Add the claim to the ID token; without the attribute it is an empty list, which makes nobody a member."""
    said = event["request"]["userAttributes"].get(ATTRIBUTE, "")
    event["response"]["claimsAndScopeOverrideDetails"] = {
        "idTokenGeneration": {"claimsToAddOrOverride": {CLAIM: groups(said)}}
    }
    return event


def groups(said: str) -> list[str]:
    """The groups in an attribute: JSON, `[a, b]`, or one group. Distinguished names hold commas, and need JSON."""
    said = said.strip()
    if not said.startswith("["):
        return [said] if said else []
    try:
        listed = json.loads(said)
    except ValueError:
        listed = said.strip("[]").split(",")
    return [str(each).strip() for each in listed if str(each).strip()]
