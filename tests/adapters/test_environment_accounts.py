"""Which account a function writes to, by the environments' accounts in the configuration."""

from __future__ import annotations

import boto3
import pytest

from lambdas.shared import dependencies
from lambdas.shared.variables import variables
from promotion import names
from promotion.config.loading import Config, parse
from tests.adapters.conftest import Aws
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, PREFIX

THERE = "444444444444"
LIVE, VERSION = f"{PREFIX}/{GROUP}/prod/live", f"{PREFIX}/{GROUP}/versions/1"
APART = parse(
    CONFIG_TEXT.replace('name = "prod"', f'name = "prod"\naccount = "{THERE}"', 1)
    + '[registry]\naccount = "123456789012"\nregion = "us-east-1"\n[artifacts]\nbuckets = ["models"]\n'
)


@pytest.fixture(params=[CONFIG, APART], ids=["one account", "prod apart"])
def config(request: pytest.FixtureRequest, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Config:
    given: Config = request.param
    monkeypatch.setenv(names.PREFIX, PREFIX)
    monkeypatch.setattr(dependencies, "config", lambda: given)
    variables.cache_clear()
    return given


def stored(account: str) -> set[str]:
    """Return the names of the parameters in an account."""
    role = f"arn:aws:iam::{account}:role/any"
    session = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    there = boto3.client(
        "ssm",
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    return {each["Name"] for each in there.get_parameters_by_path(Path="/", Recursive=True)["Parameters"]}


def test_a_live_record_is_in_its_environments_account_and_the_rest_at_home(config: Config) -> None:
    parameters = dependencies.parameter_store("writer")
    for name in (LIVE, VERSION):
        parameters.put_parameter(Name=name, Value="v", Type="String")
    there = {LIVE} if config is APART else set()
    assert (stored("123456789012"), stored(THERE)) == ({LIVE, VERSION} - there, there)
    assert parameters.get_parameter(Name=LIVE)["Parameter"]["Value"] == "v"
    pages = parameters.get_paginator("get_parameters_by_path").paginate(Path=PREFIX, Recursive=True)
    assert {each["Name"] for page in pages for each in page["Parameters"]} == {LIVE, VERSION}
    for name in (LIVE, VERSION):
        parameters.delete_parameter(Name=name)
    assert (stored("123456789012"), stored(THERE)) == (set(), set())
