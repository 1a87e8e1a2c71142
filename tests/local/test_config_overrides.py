"""A configuration that was written for AWS runs on one machine as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from local import config_overrides, synth
from local.own_provider import OwnProvider
from promotion.config import loading
from promotion.errors import Invalid

ROOT = Path(__file__).resolve().parents[2]
ISSUER = "http://127.0.0.1:9000"
OWN = """
subnets = ["subnet-1"]
security_groups = ["sg-1"]
volume_key = "arn:aws:kms:us-east-1:111111111111:key/1"
"""
WEB = """
[advanced.web]
domain_name = "models.example.com"
certificate_arn = "arn:aws:acm:us-east-1:111111111111:certificate/1"
"""


def test_four_accounts_a_domain_a_network_and_a_ledger_are_left_to_aws(tmp_path: Path) -> None:
    text = (ROOT / "tests" / "infra" / "accounts.toml").read_text(encoding="utf-8")
    assert text.splitlines()[-2] == "[advanced.inference]"
    own = "".join(f"[advanced.environments.{name}]\nsubnets = []\n" for name in ("test", "uat", "prod"))
    source = tmp_path / "promotion.toml"
    source.write_text(f'advanced.ledger_table = "left"\n{text}{OWN}{WEB}{own}', encoding="utf-8")
    assert loading.load(source).cross_account
    here = config_overrides.write(source, tmp_path / "local.toml", issuer=ISSUER)
    assert (here.cross_account, here.registry.account, here.ledger_table, here.web.domain_name) == (
        {},
        None,
        None,
        None,
    )
    assert (here.inference.subnets, here.inference.volume_key, here.identity.issuer) == ((), None, ISSUER)
    assert here.environment_names == loading.load(source).environment_names
    resources = synth.template(tmp_path / "local.toml")["Resources"].values()
    machines = [one for one in resources if one["Type"] == "AWS::StepFunctions::StateMachine"]
    assert len(machines) == len(here.environments)


def test_ones_own_provider_keeps_the_settings_that_reach_it(tmp_path: Path) -> None:
    text = (ROOT / "promotion.toml").read_text(encoding="utf-8")
    source = tmp_path / "own.toml"
    source.write_text(f'{text}\n[advanced.identity]\nproxy = "http://proxy.example.com:8080"\n', "utf-8")
    own = config_overrides.write(source, tmp_path / "a.toml", issuer="https://idp.example.com", client_id="mine")
    assert (own.identity.issuer, own.identity.client_id) == ("https://idp.example.com", "mine")
    assert own.identity.proxy == "http://proxy.example.com:8080"
    assert config_overrides.write(source, tmp_path / "b.toml", issuer=ISSUER).identity.proxy is None


def test_environment_variables_name_ones_own_provider() -> None:
    assert OwnProvider.of({}) is None
    found = OwnProvider.of({"IDP_ISSUER": "https://x", "IDP_CLIENT_ID": "c", "IDP_CLIENT_SECRET": "s"})
    assert found == OwnProvider("https://x", "c", "s")
    assert "s'" not in repr(found)
    for missing, given in (("IDP_CLIENT_ID", "IDP_ISSUER"), ("IDP_ISSUER", "IDP_CLIENT_ID")):
        with pytest.raises(Invalid, match=missing):
            OwnProvider.of({given: "x"})
