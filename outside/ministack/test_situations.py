"""The situations of docs/deploy.md, followed on the emulator from the configurations that the page names."""

from __future__ import annotations

from pathlib import Path

import pytest

from outside.ministack.emulated import running
from outside.ministack.test_two_accounts import client_there, deploy
from promotion import names
from promotion.config.loading import load
from tests.infra.synthesized import ROOT

EXAMPLES = ROOT / "examples" / "deploy"
HOME = "111111111111"


@pytest.mark.parametrize("name", ["new-account", "landing-zone"])
def test_the_example_deploys_into_one_account(tmp_path: Path, name: str) -> None:
    with running(tmp_path) as emulator:
        outputs = emulator.deploy(EXAMPLES / f"{name}.toml")
        found = emulator.client("ssm").get_parameter(Name=names.service_parameter(names.DEFAULT_PREFIX))
    assert {"ApiUrl", "CallbackUrl", "IdentitySecretArn", "SigningKeyArn", "AlarmTopic"} <= set(outputs)
    assert outputs["ApiUrl"] in found["Parameter"]["Value"]


def test_the_example_deploys_into_four_accounts(tmp_path: Path) -> None:
    config = EXAMPLES / "four-accounts.toml"
    with running(tmp_path) as emulator:
        outputs = deploy(emulator, config, home=HOME)
        for environment, account in load(config).cross_account.items():
            role = names.environment_role(names.DEFAULT_PREFIX, environment, "operator")
            assert (
                client_there(emulator, "iam", account).get_role(RoleName=role)["Role"]["Arn"].split(":")[4] == account
            )
    assert outputs["CallbackUrl"].endswith("/callback")
