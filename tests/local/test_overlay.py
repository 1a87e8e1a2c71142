"""A configuration that was written for AWS runs on one machine as it is."""

from __future__ import annotations

from pathlib import Path

from local import config_overrides, synth
from promotion.config import loading

ROOT = Path(__file__).resolve().parents[2]
ISSUER = "http://127.0.0.1:9000"
OWN = """
[inference]
subnets = ["subnet-1"]
security_groups = ["sg-1"]
volume_key = "arn:aws:kms:us-east-1:111111111111:key/1"
"""
WEB = """
[web]
domain_name = "models.example.com"
certificate_arn = "arn:aws:acm:us-east-1:111111111111:certificate/1"
"""


def test_four_accounts_a_domain_a_network_and_a_ledger_are_left_to_aws(tmp_path: Path) -> None:
    text = (ROOT / "tests" / "infra" / "accounts.toml").read_text(encoding="utf-8")
    text = text.replace("\n[inference]\n", OWN).replace(
        'account = "444444444444"', 'account = "444444444444"\nsubnets = []'
    )
    for account in ("222222222222", "333333333333"):
        text = text.replace(f'account = "{account}"', f'account = "{account}"\nsubnets = []')
    source = tmp_path / "promotion.toml"
    source.write_text(f'ledger_table = "left"\n{text}{WEB}', encoding="utf-8")
    assert loading.load(source).elsewhere
    here = config_overrides.write(source, tmp_path / "local.toml", issuer=ISSUER)
    assert (here.elsewhere, here.registry.account, here.ledger_table, here.web.domain_name) == ({}, None, None, None)
    assert (here.inference.subnets, here.inference.volume_key, here.identity.issuer) == ((), None, ISSUER)
    assert here.environment_names == loading.load(source).environment_names
    resources = synth.template(tmp_path / "local.toml")["Resources"].values()
    machines = [one for one in resources if one["Type"] == "AWS::StepFunctions::StateMachine"]
    assert len(machines) == len(here.environments)
