"""The three situations of docs/deploy.md, each synthesized from the configuration that the page names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.infra.simulation import allowed
from tests.infra.synthesized import ROOT, Template, run_app, synthesize

EXAMPLES = ROOT / "examples" / "deploy"
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BOUNDARY = "CompanyBoundary"


def settings_named(paragraph: str) -> set[str]:
    """Names of settings in a paragraph of the page, without their sections."""
    (text,) = re.findall(rf"^\*\*{paragraph}\*\*(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    code = re.findall(r"`(?:\[\w+\] )?([a-z_]+)(?: = [^`]*)?`", text)
    return set(code)


def synthesized(name: str, folder: Path, **context: object) -> Template:
    return synthesize(EXAMPLES / f"{name}.toml", folder / "out", **context)


def test_the_page_names_each_configuration_and_there_are_no_others() -> None:
    named = set(re.findall(r"examples/deploy/([\w-]+\.toml)", PAGE))
    assert named == {path.name for path in EXAMPLES.iterdir()}


@pytest.mark.parametrize(
    ("paragraph", "name"), [("A new account.", "new-account"), ("A company's landing zone.", "landing-zone")]
)
def test_the_configuration_has_every_setting_that_the_paragraph_names(paragraph: str, name: str) -> None:
    settings = settings_named(paragraph)
    text = (EXAMPLES / f"{name}.toml").read_text(encoding="utf-8")
    assert settings, "the paragraph names no setting"
    assert {each for each in settings if not re.search(rf"^{each} = ", text, re.MULTILINE)} == set()


def test_a_new_account_needs_neither_gpu_nor_codebuild(tmp_path: Path) -> None:
    template = synthesized("new-account", tmp_path)
    assert template.of_type("AWS::CodeBuild::Project") == {}
    assert template.of_type("AWS::ECR::Repository") == {}
    text = json.dumps(template.document)
    assert "ml.g5" not in text
    assert "111111111111.dkr.ecr.us-east-1.amazonaws.com/promotion-inference:1" in text


def test_a_landing_zone_takes_what_the_company_has(tmp_path: Path) -> None:
    template = synthesized("landing-zone", tmp_path, **{"@aws-cdk/core:permissionsBoundary": {"name": BOUNDARY}})
    assert "@aws-cdk/core:permissionsBoundary" in PAGE
    for name, role in template.of_type("AWS::IAM::Role").items():
        assert f"policy/{BOUNDARY}" in json.dumps(role["PermissionsBoundary"]), name
    assert template.of_type("AWS::SES::EmailIdentity") == {}
    assert not [role for role in template.of_type("AWS::IAM::Role") if "ExecutionRole" in role]
    machine = json.dumps(template.of_type("AWS::StepFunctions::StateMachine"))
    for wanted in ("subnet-0a1b2c3d", "sg-0a1b2c3d", "role/data-science"):
        assert wanted in machine, wanted
    statements = template.statements(template.role_of("on_model_registered"))
    via = {"kms:ViaService": "s3.<AWS::Region>.<AWS::URLSuffix>"}
    key = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555"
    assert allowed(statements, "kms:Decrypt", key, via)


def test_four_accounts_have_their_buses_first_and_tell_owners_what_to_add(tmp_path: Path) -> None:
    finished = run_app(EXAMPLES / "four-accounts.toml", tmp_path, bundle="false", nag="false")
    assert finished.returncode == 0, finished.stderr
    artifacts = json.loads((tmp_path / "manifest.json").read_text())["artifacts"]
    stacks = {name: found for name, found in artifacts.items() if found["type"] == "aws:cloudformation:stack"}
    accounts = {found["environment"].split("/")[2] for found in stacks.values()}
    assert accounts == {"111111111111", "222222222222", "333333333333", "444444444444"}
    buses = {name for name in stacks if name.endswith("EventBus")}
    assert len(buses) == 4
    # Reached from the service's stack, which is deployed last.
    reached, waiting = set(), ["promotion"]
    while waiting:
        name = waiting.pop()
        for each in stacks[name].get("dependencies", []):
            if each in stacks and each not in reached:
                reached.add(each)
                waiting.append(each)
    assert reached == set(stacks) - {"promotion"}
    assert {file.stem for file in (tmp_path / "policies").iterdir()} == {
        "bucket-promotion-models", "key-of-artifacts", "repository-of-images",
    }  # fmt: skip
