"""Two accounts on the emulator: the real `cdk` deploys into each, and a decision in one goes live in the other.

Events end at the account's border here: the emulator looks for another account's bus in its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.clients import any_client
from local.ports import Held
from outside.ministack.emulated import ACCOUNT, REGION, Emulator, eventually, running, within_reach
from outside.ministack.test_one_account import CLIENT_SECRET, GROUP, approval_link, approve, identity_provider, register
from promotion import names
from promotion.config.loading import load
from tests.infra.synthesized import ROOT, run_app

THERE = "444444444444"
CONFIG = ROOT / "tests" / "infra" / "promotion.toml"


def client_there(emulator: Emulator, service: str, account: str = THERE) -> Any:
    """Return a client as an account's administrator; the key selects the account."""
    return any_client(
        service,
        region_name=REGION,
        endpoint_url=emulator.url,
        aws_access_key_id=account,
        aws_secret_access_key="test",
        verify=str(emulator.certificate),
    )


def deploy(emulator: Emulator, config: Path, *, home: str = ACCOUNT) -> dict[str, str]:
    """Bootstrap every account, and deploy the buses, then a stack into each, the environments' first."""
    others = load(config).cross_account
    assembly = emulator.folder / "cdk.out"
    finished = run_app(config, assembly, bundle="host", nag="false")
    assert finished.returncode == 0, finished.stderr
    for template in assembly.glob("*.template.json"):
        template.write_text(json.dumps(within_reach(json.loads(template.read_text()))))
    at_home = emulator.environment
    for account in (*others.values(), home):
        emulator.environment = {**at_home, "AWS_ACCESS_KEY_ID": account}
        emulator.cdk("bootstrap", f"aws://{account}/{REGION}")
    for account, stack in (
        *((account, f"promotion-{name}-EventBus") for name, account in others.items()),
        (home, "promotion-EventBus"),
        *((account, f"promotion-{name}") for name, account in others.items()),
        (home, "promotion"),
    ):
        emulator.environment = {**at_home, "AWS_ACCESS_KEY_ID": account}
        command = ("deploy", stack, "--exclusively", "--app", str(assembly), "--require-approval", "never")
        emulator.cdk(*command, "--outputs-file", "outputs.json")
    emulator.environment = at_home
    outputs: dict[str, str] = json.loads((emulator.folder / "outputs.json").read_text())["promotion"]
    return outputs


def live_record(client: Any) -> dict[str, Any] | None:
    try:
        value = client.get_parameter(Name=names.live_parameter(names.DEFAULT_PREFIX, GROUP, "dev"))
    except client.exceptions.ParameterNotFound:
        return None
    record: dict[str, Any] = json.loads(value["Parameter"]["Value"])
    return record


def as_function(emulator: Emulator, module: str) -> Any:
    """Return STS as one of our functions: here the account's administrator may assume a service's roles."""
    role = f"arn:aws:iam::{ACCOUNT}:role/promotion-{module}"
    found = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="tries")["Credentials"]
    return any_client(
        "sts",
        region_name=REGION,
        endpoint_url=emulator.url,
        aws_access_key_id=found["AccessKeyId"],
        aws_secret_access_key=found["SecretAccessKey"],
        aws_session_token=found["SessionToken"],
        verify=str(emulator.certificate),
    )


def assert_the_writers_door_opens_to_the_projector_alone(emulator: Emulator) -> None:
    door = {"RoleArn": f"arn:aws:iam::{THERE}:role/promotion-dev-writer", "RoleSessionName": "tries"}
    known = names.external_id(names.DEFAULT_PREFIX, "dev")
    assert as_function(emulator, "on-projection-due").assume_role(**door, ExternalId=known)["Credentials"]
    for module, external in (("web", known), ("decide", known), ("on-projection-due", "another")):
        with pytest.raises(ClientError, match="not authorized to perform: sts:AssumeRole"):
            as_function(emulator, module).assume_role(**door, ExternalId=external)


@pytest.fixture
def port() -> Iterator[int]:
    """Of the identity provider."""
    with Held() as held:
        yield held.number


def test_an_approved_version_goes_live_in_the_environments_account(tmp_path: Path, port: int) -> None:
    text = CONFIG.read_text(encoding="utf-8").replace(
        "https://login.example.com/tenant/v2.0", f"http://127.0.0.1:{port}"
    )
    text = text.replace('name = "dev"', f'name = "dev"\naccount = "{THERE}"', 1)
    config = tmp_path / "promotion.toml"
    config.write_text(f'{text}\n[registry]\naccount = "{ACCOUNT}"\nregion = "{REGION}"\n', encoding="utf-8")
    with running(tmp_path) as emulator:
        outputs = deploy(emulator, config)
        emulator.client("secretsmanager").put_secret_value(
            SecretId=outputs["IdentitySecretArn"], SecretString=json.dumps({"client_secret": CLIENT_SECRET})
        )
        with identity_provider(port, outputs["CallbackUrl"], config):
            arn = register(emulator)
            link = eventually(lambda: approval_link(emulator, outputs["ApiUrl"]), "approval mail")
            approve(emulator, outputs["ApiUrl"], link)
            there = client_there(emulator, "ssm")
            live = eventually(lambda: live_record(there), "live parameter")
        assert live["model_package_arn"] == arn
        assert live_record(emulator.client("ssm")) is None
        assert_the_writers_door_opens_to_the_projector_alone(emulator)
        policy = emulator.client("sagemaker").get_model_package_group_policy(ModelPackageGroupName=GROUP)
    (statement,) = json.loads(policy["ResourcePolicy"])["Statement"]
    assert statement["Principal"] == {"AWS": [f"arn:aws:iam::{THERE}:role/promotion-dev-execution"]}
