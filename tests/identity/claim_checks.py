"""Claim sets run through a whole sign-in and judged, for the tests and for benchmarks/approver.py alike."""

from __future__ import annotations

import json

from promotion.domain.people import Person
from promotion.errors import SignInFailed
from tests.identity.claim_sets import CLAIM_SETS, ClaimSet
from tests.identity.provider import Application, Provider


def person_for(provider: Provider, told: ClaimSet) -> Person:
    """Return the person who signs in with these claims, with the claim set's group as the environment's.

    Raises:
        SignInFailed: nobody does.
    """
    provider.userinfo = told.userinfo
    application = Application(provider, group=json.dumps(told.group, ensure_ascii=False), **told.settings)
    return application.signs_in(**told.claims)


def is_right(provider: Provider, told: ClaimSet) -> bool:
    """Return True if a sign-in with these claims ends as its family's documentation states."""
    try:
        person = person_for(provider, told)
    except SignInFailed as error:
        return bool(told.refused) and told.refused in str(error)
    said = ((told.name, person.name), (told.email, person.email), (told.brought, person.groups_brought))
    agrees = all(expected is None or expected == found for expected, found in said)
    return not told.refused and agrees and (told.group in person.groups) is told.member


def count_right() -> int:
    """Count the claim sets with the right result."""
    right = 0
    for told in CLAIM_SETS:
        with Provider() as provider:
            right += is_right(provider, told)
    return right
