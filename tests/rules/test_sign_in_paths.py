"""Which environments a path decides for, and so how fresh a sign-in has to be there."""

from __future__ import annotations

import pytest

from lambdas.shared import sign_in_paths
from promotion.config.loading import parse
from promotion.errors import LinkInvalid
from tests.fakes import CONFIG_TEXT, GROUP

DECISIONS = """
[advanced.environments.dev.decision]
fresh_within = "10m"
[advanced.environments.prod.decision]
fresh_within = "2m"
"""


def request_of(token: str) -> str:
    """Return the request of a token, which is the request's id here."""
    if token.count(":") != 3:
        raise LinkInvalid("The link is damaged.")
    return token


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in_paths, "config", lambda: parse(CONFIG_TEXT + DECISIONS))


@pytest.mark.parametrize(
    ("path", "within"),
    [
        (f"/approvals/{GROUP}:1:dev:1", ["10m"]),
        (f"/approvals/{GROUP}:1:dev:1/again?back=1", ["10m"]),
        (f"/models/{GROUP}/prod/rollback", ["2m"]),
        ("/", []),
        ("/approvals/damaged", []),
        (f"/approvals/{GROUP}:1:elsewhere:1", []),
        (f"/models/{GROUP}/elsewhere/rollback", []),
    ],
)
def test_a_path_has_the_rules_of_what_it_decides(path: str, within: list[str]) -> None:
    assert [rule.fresh_within for rule in sign_in_paths.decisions_at(path, request_of)] == within


def test_revoking_a_version_is_decided_for_every_environment() -> None:
    rules = sign_in_paths.decisions_at(f"/models/{GROUP}/versions/1/revoke", request_of)
    assert [rule.fresh_within for rule in rules][::2] == ["10m", "2m"]
    assert sign_in_paths.decision_at(f"/models/{GROUP}/versions/1/revoke", request_of).fresh_within == "2m"
