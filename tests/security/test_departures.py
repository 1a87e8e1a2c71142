"""An environment with live models doesn't leave the configuration unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from promotion.aws import departures
from promotion.config import loading as configuration
from promotion.config.loading import Config
from promotion.errors import Invalid, Refused
from tests.security.attacked import CONFIG, Attacked

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = configuration.load(CONFIG)


def without(name: str, **more: object) -> Config:
    kept = tuple(environment for environment in SETTINGS.environments if environment.name != name)
    return replace(SETTINGS, environments=kept, **more)


def renamed(name: str, to: str) -> Config:
    changed = tuple(replace(e, name=to) if e.name == name else e for e in SETTINGS.environments)
    return replace(SETTINGS, environments=changed)


def check(attacked: Attacked, config: Config) -> None:
    departures.check(config, attacked.aws, "/promotion")


def test_as_it_is_it_may_be_deployed(attacked: Attacked) -> None:
    check(attacked, SETTINGS)


@pytest.mark.parametrize("config", [without("test"), renamed("test", "check")], ids=["removed", "renamed"])
def test_a_configuration_without_the_environment_of_a_live_model_is_refused(attacked: Attacked, config: Config) -> None:
    with pytest.raises(Refused, match=r"no test any more.*frozen v1 in test.*retired = \[\"test\"\]"):
        check(attacked, config)


def test_an_environment_in_which_nothing_is_live_may_go(attacked: Attacked) -> None:
    check(attacked, without("uat"))


def test_a_retired_environment_may_be_removed(attacked: Attacked) -> None:
    check(attacked, without("test", retired=("test",)))


def test_groups_that_are_not_governed_count_for_nothing(attacked: Attacked) -> None:
    check(attacked, without("test", groups=("another-*",)))


def test_before_the_first_deployment_there_is_nothing_to_leave(attacked: Attacked) -> None:
    departures.check(without("test"), attacked.aws, "/elsewhere")


def test_a_retired_name_is_no_environment() -> None:
    with pytest.raises(Invalid, match="is an environment still"):
        configuration.parse('advanced.retired = ["dev"]\n' + CONFIG.read_text(encoding="utf-8"))


def test_a_deployment_over_them_ends_before_the_template_is_made(attacked: Attacked, tmp_path: Path) -> None:
    """As the CDK runs the app, once it knows the account."""
    text = CONFIG.read_text(encoding="utf-8").replace('name = "test"', 'name = "check"')
    text = text.replace(".environments.test]", ".environments.check]")
    (tmp_path / "promotion.toml").write_text(text, encoding="utf-8")
    environment = {
        **os.environ,
        **attacked.service.environment(),
        "CDK_DEFAULT_ACCOUNT": "123456789012",
        "CDK_DEFAULT_REGION": "us-east-1",
        "CDK_OUTDIR": str(tmp_path / "out"),
        "PROMOTION_CONFIG": str(tmp_path / "promotion.toml"),
    }
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    assert "models are live there" in done.stderr
    assert not (tmp_path / "out").exists()
