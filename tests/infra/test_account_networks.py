"""Several accounts: subnets, keys and roles of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.accounts import CrossAccount
from promotion.config import loading
from tests.infra.accounts import ACCOUNTS, CONFIG, OTHERS, SERVICE, lets_in, named, role
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, actions, run_app

KEY = f"arn:aws:kms:us-east-1:{SERVICE}:key/11111111-2222-3333-4444-555555555555"
OWN = f"arn:aws:kms:us-east-1:{ACCOUNTS['uat']}:key/99999999-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry's account has a network and a key; prod's has a network of its own, uat's a key and none, test's none."""
    folder = tmp_path_factory.mktemp("networks")
    text = CONFIG.read_text(encoding="utf-8")
    assert text.splitlines()[-2] == "[advanced.inference]"
    text += f'subnets = ["subnet-1"]\nsecurity_groups = ["sg-1"]\nvolume_key = "{KEY}"\n'
    for name, own in (
        ("test", "subnets = []"),
        ("uat", f'subnets = []\nvolume_key = "{OWN}"'),
        ("prod", 'subnets = ["subnet-4"]\nsecurity_groups = ["sg-4"]'),
    ):
        text += f"[advanced.environments.{name}]\n{own}\n"
    (folder / "promotion.toml").write_text(text, encoding="utf-8")
    finished = run_app(folder / "promotion.toml", folder / "out", bundle="false")
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    return folder / "out"


def told(template: Template) -> dict[str, Any]:
    """Return the settings that an account's machine passes to `prepare_inference`."""
    (machine,) = template.of_type("AWS::StepFunctions::StateMachine").values()
    settings: dict[str, Any] = json.loads(str(machine["DefinitionString"]))["States"]["Settings"]["Result"]
    return settings


def test_every_account_has_its_own_network(networks: Path) -> None:
    here, prod = (Template(networks / f"{name}.template.json") for name in ("promotion", "promotion-prod"))
    assert (told(here)["subnets"], told(prod)["subnets"]) == (["subnet-1"], ["subnet-4"])
    assert told(prod)["security_groups"] == ["sg-4"]
    runs = prod.statements(named(prod, "promotion-prod-execution"))
    at = f"arn:aws:ec2:us-east-1:{ACCOUNTS['prod']}:subnet"
    assert allowed(runs, "ec2:CreateNetworkInterface", f"{at}/subnet-4")
    assert not allowed(runs, "ec2:CreateNetworkInterface", f"{at}/subnet-1")


def test_none_on_purpose_is_none(networks: Path) -> None:
    test = Template(networks / "promotion-test.template.json")
    assert told(test)["subnets"] == []
    runs = test.statements(named(test, "promotion-test-execution"))
    assert not [statement for statement in runs if any(action.startswith("ec2:") for action in actions(statement))]


def test_owners_of_keys_are_told_who_encrypts_from_elsewhere(networks: Path) -> None:
    written = {file.stem: json.loads(file.read_text()) for file in (networks / "policies").iterdir()}
    statements = written[f"key-{KEY.rpartition('/')[2]}"]["Statement"]
    for environment, open_ in (("test", True), ("prod", True), ("uat", False)):
        runs = role(ACCOUNTS[environment], f"promotion-{environment}-execution")
        assert lets_in(statements, runs, "kms:GenerateDataKey", "*", {}) is open_
        assert lets_in(statements, runs, "kms:CreateGrant", "*", {"kms:GrantIsForAWSResource": "true"}) is open_
        assert not lets_in(statements, runs, "kms:CreateGrant", "*", {"kms:GrantIsForAWSResource": "false"})
    # uat's own key is in its own account, where its role's policy is enough.
    assert f"key-{OWN.rpartition('/')[2]}" not in written
    uat = Template(networks / "promotion-uat.template.json")
    runs_there = uat.statements(named(uat, "promotion-uat-execution"))
    assert allowed(runs_there, "kms:GenerateDataKey", OWN)
    assert not allowed(runs_there, "kms:GenerateDataKey", KEY)


def told_owners(more: str) -> dict[str, list[dict[str, Any]]]:
    """Return the statements for other owners' policies, with more settings."""
    return CrossAccount(loading.parse(CONFIG.read_text(encoding="utf-8") + more), "/promotion").owners_statements()


def test_owners_let_in_an_environments_own_execution_role_instead_of_ours() -> None:
    own, ours = role(ACCOUNTS["prod"], "data-science"), role(ACCOUNTS["prod"], "promotion-prod-execution")
    found = told_owners(f'[advanced.environments.prod]\nexecution_role = "{own}"\n')
    for name, action in (
        ("bucket-promotion-models", "s3:GetObject"),
        ("key-of-artifacts", "kms:DescribeKey"),
        ("repository-of-images", "ecr:BatchGetImage"),
    ):
        context = {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
        resource = "arn:aws:s3:::promotion-models/v3/model.tar.gz" if action.startswith("s3") else "*"
        assert lets_in(found[name], own, action, resource, context), name
        assert not lets_in(found[name], ours, action, resource, context), name


@pytest.mark.parametrize("account", [OTHERS, ACCOUNTS["uat"]])
def test_owners_of_a_key_of_outputs_let_the_service_show_them_from_s3_alone(account: str) -> None:
    key = OWN.replace(ACCOUNTS["uat"], account)
    found = told_owners(f'[advanced.environments.uat]\noutput_key = "{key}"\n')
    statements = found[f"key-{key.rpartition('/')[2]}"]
    via = {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
    for function in ("web", "on-inference-completed", "on-projection-due"):
        assert lets_in(statements, role(SERVICE, f"promotion-{function}"), "kms:Decrypt", "*", via), function
        assert not lets_in(statements, role(SERVICE, f"promotion-{function}"), "kms:Decrypt", "*", {}), function
    assert not lets_in(statements, role(SERVICE, "promotion-sign-in"), "kms:Decrypt", "*", via)
    # In its own account, the policy of uat's role is enough to encrypt.
    runs = role(ACCOUNTS["uat"], "promotion-uat-execution")
    assert lets_in(statements, runs, "kms:GenerateDataKey", "*", {}) is (account == OTHERS)
