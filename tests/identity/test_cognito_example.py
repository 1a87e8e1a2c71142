"""The shipped pre token generation function, and that what it makes of a directory's groups signs people in."""

from __future__ import annotations

from typing import Any

import pytest

from examples import cognito_groups
from tests.identity.provider import Application


def claims_for(attributes: dict[str, str]) -> Any:
    event = {"request": {"userAttributes": attributes}, "response": {}}
    said = cognito_groups.handler(event, None)["response"]["claimsAndScopeOverrideDetails"]
    return said["idTokenGeneration"]["claimsToAddOrOverride"]["groups"]


@pytest.mark.parametrize(
    ("said", "groups"),
    [
        ("[staff, ml-dev]", ["staff", "ml-dev"]),
        ('["CN=ml-dev,DC=corp","staff"]', ["CN=ml-dev,DC=corp", "staff"]),
        ("CN=ml-dev,DC=corp", ["CN=ml-dev,DC=corp"]),
        ("ml-dev", ["ml-dev"]),
        ("[]", []),
        ("", []),
    ],
)
def test_the_directorys_groups_become_a_list(said: str, groups: list[str]) -> None:
    assert claims_for({"custom:groups": said}) == groups


def test_somebody_without_the_attribute_is_in_no_group() -> None:
    assert claims_for({}) == []


def test_the_list_signs_a_member_in(application: Application) -> None:
    assert application.signs_in(groups=claims_for({"custom:groups": "[staff, ml-dev]"})).groups == {"ml-dev"}
