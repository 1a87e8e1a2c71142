"""A change of a package is this service's own by the role that made it."""

from __future__ import annotations

import pytest

from lambdas.shared.changes import is_own

STS = "arn:aws:sts::123456789012:assumed-role"


@pytest.mark.parametrize(
    ("by", "own"),
    [
        ({"IamIdentity": {"Arn": f"{STS}/promotion-RegistryRoleF991B780-Ab12Cd34/promotion"}}, True),
        ({"IamIdentity": {"Arn": f"{STS}/MLEngineer/promotion"}}, False),
        ({"IamIdentity": {"Arn": "arn:aws:iam::123456789012:user/teams/promotion"}}, False),
        ({"IamIdentity": {"Arn": f"{STS}/promotion-RegistryRoleF991B780-Ab12Cd34/somebody"}}, False),
        ({"UserProfileName": "promotion"}, False),
        ({}, False),
    ],
)
def test_a_session_of_the_services_name_is_not_the_service(by: dict[str, object], own: bool) -> None:
    assert is_own({"LastModifiedBy": by}) is own
