"""An execution role, a network and keys of one's own: the machines take them, and the policies name them and nothing more.

What is of another region is refused.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.infra.refused import refusal
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, synthesize

CONFIG = Path(__file__).parent / "promotion.toml"
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
ROLE = "arn:aws:iam::123456789012:role/data-science"
TO_SAGEMAKER = {"iam:PassedToService": "sagemaker.amazonaws.com"}
HERE = "<AWS::Region>:<AWS::AccountId>"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """dev runs as a role that is there already, the others as ours; all in a network, with a key."""
    folder = tmp_path_factory.mktemp("own")
    text = CONFIG.read_text(encoding="utf-8")
    network = f'subnets = ["subnet-1"]\nsecurity_groups = ["sg-1"]\nvolume_key = "{KEY}"\noutput_key = "{KEY}"\n'
    web = '[advanced.web]\nsubnets = ["subnet-3"]\nsecurity_groups = ["sg-3"]\n'
    role = f'[advanced.environments.dev]\nexecution_role = "{ROLE}"\n'
    assert text.splitlines()[-2] == "[advanced.inference]"
    (folder / "promotion.toml").write_text(text + network + web + role, encoding="utf-8")
    return synthesize(folder / "promotion.toml", folder / "out")


def test_a_role_of_ones_own_is_passed_and_none_is_made(own: Template) -> None:
    machine = own.statements(own.the("AWS::IAM::Role", "InferenceDevRole")[0])
    assert allowed(machine, "iam:PassRole", ROLE, TO_SAGEMAKER)
    assert not [name for name in own.of_type("AWS::IAM::Role") if name.startswith("InferenceDevExecutionRole")]
    assert not [policy for policy in own.of_type("AWS::IAM::Policy").values() if ROLE in json.dumps(policy["Roles"])]


def test_the_machine_runs_as_that_role_and_in_that_network(own: Template) -> None:
    _, machine = own.the("AWS::StepFunctions::StateMachine", "InferenceDevMachine")
    states = json.loads(str(machine["DefinitionString"]))["States"]
    assert states["Settings"]["Result"]["execution_role_arn"] == ROLE
    assert states["Settings"]["Result"]["subnets"] == ["subnet-1"]
    assert states["Settings"]["Result"]["security_groups"] == ["sg-1"]
    assert states["CreateModel"]["Parameters"]["ExecutionRoleArn"] == ROLE
    assert states["CreateModel"]["Parameters"]["VpcConfig.$"] == "$.create_model.VpcConfig"


def test_our_role_reaches_that_network_and_that_key_alone(own: Template) -> None:
    role = own.statements(own.the("AWS::IAM::Role", "InferenceProdExecutionRole")[0])
    subnets = f"arn:<AWS::Partition>:ec2:{HERE}:subnet"
    assert allowed(role, "ec2:CreateNetworkInterface", f"{subnets}/subnet-1")
    assert not allowed(role, "ec2:CreateNetworkInterface", f"{subnets}/subnet-2")
    assert allowed(role, "kms:GenerateDataKey", KEY)
    assert not allowed(role, "kms:GenerateDataKey", KEY.replace("1111", "2222"))
    assert allowed(role, "kms:CreateGrant", KEY, {"kms:GrantIsForAWSResource": "true"})
    assert not allowed(role, "kms:CreateGrant", KEY, {"kms:GrantIsForAWSResource": "false"})


def test_sign_in_alone_is_in_the_network_of_the_provider(own: Template) -> None:
    placed = {
        name: function["VpcConfig"]
        for name, function in own.of_type("AWS::Lambda::Function").items()
        if "VpcConfig" in function
    }
    assert [name for name in placed if not name.startswith("FunctionsSignIn")] == []
    (network,) = placed.values()
    assert network == {"SubnetIds": ["subnet-3"], "SecurityGroupIds": ["sg-3"]}


def test_lambda_makes_the_interfaces_of_sign_in_and_its_code_may_not(own: Template) -> None:
    role = own.statements(own.the("AWS::IAM::Role", "FunctionsSignInRole")[0])
    assert allowed(role, "ec2:CreateNetworkInterface", "*")
    by_code = {"lambda:SourceFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:x"}
    assert not allowed(role, "ec2:CreateNetworkInterface", "*", by_code)
    other = own.statements(own.the("AWS::IAM::Role", "FunctionsWebRole")[0])
    assert not allowed(other, "ec2:CreateNetworkInterface", "*")


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("artifacts", 'region = "eu-west-1"'),
        ("inference", 'volume_key = "arn:aws:kms:eu-west-1:123456789012:key/1"'),
        (
            "web",
            'certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/1"\ndomain_name = "models.example.com"',
        ),
    ],
)
def test_another_region_than_the_one_deployed_into_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, setting: str
) -> None:
    monkeypatch.setenv("CDK_DEFAULT_REGION", "us-east-1")
    wrong = tmp_path / "promotion.toml"
    text = CONFIG.read_text(encoding="utf-8").partition("\n[advanced.inference]\n")[0]
    wrong.write_text(f"{text}\n[advanced.{section}]\n{setting}\n", encoding="utf-8")
    assert f"promotion.toml advanced.{section}.{setting.partition(' ')[0]}: it" in refusal(wrong)
