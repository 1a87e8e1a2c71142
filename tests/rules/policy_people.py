"""People and starting points of the tests of the policy."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from promotion import names
from promotion.config.loading import Config
from promotion.domain import policy
from promotion.domain.people import Person
from promotion.workflows import decisions
from tests.rules.scenario import CONFIG, Scenario

BEN = Person(subject="ben", name="Ben", email="ben@example.com", groups=frozenset({"ml-dev", "ml-test"}))
EVE = Person(subject="eve", name="Eve", email="eve@example.com")
DEE_SIGNED_IN = Person(
    subject="auth0|dee", name="Dee", email="Dee@Example.com", groups=frozenset({"ml-dev", "ml-prod"})
)
# In the approvers' group and on call.
BOTH = Person(
    subject="both", name="Both", email="both@example.com", groups=frozenset({"ml-dev", "ml-prod", "ml-oncall"})
)


def judged(
    scenario: Scenario,
    person: Person,
    verdict: names.Verdict = names.APPROVED,
    *,
    glass: bool = False,
    environment: str = "dev",
) -> policy.Judgement:
    asked = scenario.view.version(1).requests[environment].id
    return policy.may_decide(
        person, verdict, decisions.situation(scenario.view, asked, context=scenario.context), breaking_glass=glass
    )


def registered_stage(config: Config = CONFIG, **about: Any) -> Scenario:
    scenario = Scenario(config)
    scenario.registers(1, **about)
    return scenario


def changed(config: Config, environment: str, **changes: Any) -> Config:
    """A configuration in which one environment is otherwise."""
    environments = tuple(replace(e, **changes) if e.name == environment else e for e in config.environments)
    return replace(config, environments=environments)
