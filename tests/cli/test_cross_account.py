"""`promotion verify` and `doctor` by command, where environments have accounts of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from promotion import names
from promotion.aws.accounts import Accounts
from promotion.aws.doctor import cross_account, readiness
from promotion.aws.doctor.findings import Account, Finding
from promotion.aws.doctor.readiness import BOOTSTRAP_PARAMETER
from promotion.cli import service
from promotion.config.loading import Config, parse
from promotion.errors import Refused
from tests.fakes import CONFIG_TEXT

PROD = "444444444444"
LIVE = "/promotion/summaries/prod/live"


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    text = CONFIG_TEXT.replace('name = "prod"', f'name = "prod"\naccount = "{PROD}"', 1)
    here = '[registry]\naccount = "123456789012"\nregion = "us-east-1"\n[artifacts]\nbuckets = ["models"]\n'
    config = parse(f"{text}\n{here}")
    monkeypatch.setattr(service, "config", lambda: config)
    return config


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        for kept in (service.client, service.afar):
            kept.cache_clear()
        yield
        for kept in (service.client, service.afar):
            kept.cache_clear()


def there(config: Config) -> Any:
    accounts = Accounts(boto3.client("sts"), config.cross_account, prefix="/promotion", purpose=cross_account.OPERATOR)
    return accounts.clients("prod")


def deploy(client: Any) -> None:
    """Make the resources of the environment's stack that are checked."""
    client("ssm").put_parameter(Name=BOOTSTRAP_PARAMETER, Value="29", Type="String")
    client("ssm").put_parameter(Name=LIVE, Value="{}", Type="String")
    client("sqs").create_queue(QueueName=names.far_queue("/promotion", "prod"))
    client("sns").create_topic(Name=names.far_topic("/promotion", "prod"))
    trusted = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "states"}}]}
    role = client("iam").create_role(RoleName="machine", AssumeRolePolicyDocument=json.dumps(trusted))["Role"]["Arn"]
    definition = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
    client("stepfunctions").create_state_machine(name="promotion-inference-prod", definition=definition, roleArn=role)


@pytest.fixture(autouse=True)
def _without_quotas(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has none; tests/cli/test_doctor.py and test_endpoint.py hold that check by itself."""
    monkeypatch.setattr(readiness, "quota", lambda *_, **__: iter(()))


def looked(config: Config, clients_in: Any, *, deployed: bool = True) -> dict[str, Finding]:
    account = Account(
        client=boto3.client,
        region="us-east-1",
        prefix="/promotion",
        config=config,
        service={} if deployed else None,
    )
    return {finding.check: finding for finding in cross_account.look(account, clients_in)}


def test_the_doctor_looks_into_the_account_of_each_environment(config: Config) -> None:
    deploy(there(config))
    found = looked(config, lambda environment: there(config))
    states = {check: finding.state for check, finding in found.items()}
    assert states["account of prod"] == "ok"
    assert states["prod: CDK bootstrap"] == "ok"
    assert states["prod: machine"] == "ok"
    assert states["prod: undelivered"] == "ok"
    assert states["prod: alarms"] == "warn"
    assert found["account of prod"].found == f"{PROD}, 1 live model."


def test_a_missing_resource_in_another_account_is_reported_for_that_account(config: Config) -> None:
    found = looked(config, lambda environment: there(config))
    assert found["prod: CDK bootstrap"].state == "fail"
    assert found["prod: machine"].state == "fail"


def test_before_the_first_deployment_its_resources_are_not_missed(config: Config) -> None:
    found = looked(config, lambda environment: there(config), deployed=False)
    assert list(found) == ["account of prod", "prod: CDK bootstrap"]


def test_an_undelivered_event_in_another_account_is_a_failure(config: Config) -> None:
    client = there(config)
    deploy(client)
    url = client("sqs").get_queue_url(QueueName=names.far_queue("/promotion", "prod"))["QueueUrl"]
    client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    assert looked(config, lambda environment: client)["prod: undelivered"].state == "fail"


def test_a_parameter_that_the_service_never_writes_is_warned_of(config: Config) -> None:
    client = there(config)
    client("ssm").put_parameter(Name="/promotion/summaries/dev/live", Value="{}", Type="String")
    found = looked(config, lambda environment: client)["account of prod"]
    assert (found.state, found.do) == ("warn", "promotion verify")
    assert found.found == f"{PROD} has /promotion/summaries/dev/live, which nothing here wrote."


def test_a_confirmed_subscriber_in_another_account_is_counted(config: Config) -> None:
    client = there(config)
    deploy(client)
    topic = f"arn:aws:sns:us-east-1:{PROD}:{names.far_topic('/promotion', 'prod')}"
    client("sns").subscribe(TopicArn=topic, Protocol="sms", Endpoint="+15550100")
    found = looked(config, lambda environment: client)["prod: alarms"]
    assert (found.state, found.found) == ("ok", "1 subscriber.")


def test_a_machine_that_is_being_deleted_is_a_failure(config: Config) -> None:
    client, machines = there(config), boto3.client("stepfunctions")
    deploy(client)
    with Stubber(machines) as stub:
        arn = f"arn:aws:states:us-east-1:{PROD}:stateMachine:promotion-inference-prod"
        about = {"name": "promotion-inference-prod", "definition": "{}", "roleArn": arn, "type": "STANDARD"}
        answer = {"stateMachineArn": arn, "status": "DELETING", "creationDate": 0, **about}
        stub.add_response("describe_state_machine", answer, {"stateMachineArn": arn})
        clients = lambda service: machines if service == "stepfunctions" else client(service)  # noqa: E731
        found = looked(config, lambda environment: clients)["prod: machine"]
    assert (found.state, found.found) == ("fail", "promotion-inference-prod is DELETING.")


def denied(*_: Any) -> Any:
    raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "AssumeRole")


def test_a_caller_who_is_no_operator_is_told_so_and_other_checks_continue(config: Config) -> None:
    (finding,) = looked(config, denied).values()
    assert (finding.check, finding.state) == ("account of prod", "not checked")
    assert "promotion-prod-operator" in finding.do


def test_verify_reads_the_parameters_of_all_accounts(config: Config) -> None:
    there(config)("ssm").put_parameter(Name=LIVE, Value="{}", Type="String")
    boto3.client("ssm").put_parameter(Name="/promotion/summaries/dev/live", Value="{}", Type="String")
    pages = service.parameters().get_paginator("get_parameters_by_path").paginate(Path="/promotion", Recursive=True)
    assert {each["Name"] for page in pages for each in page["Parameters"]} == {LIVE, "/promotion/summaries/dev/live"}


def test_verify_without_the_right_says_whose_it_is(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accounts, "client", denied)
    with pytest.raises(Refused, match="account of prod"):
        service.parameters().get_parameter(Name=LIVE)


def test_with_one_account_nothing_is_routed(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "config", lambda: parse(CONFIG_TEXT))
    assert service.parameters() is service.client("ssm")
