"""`promotion endpoint`: what it asks for, what it says, and what doctor looks at before there is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.doctor import readiness
from promotion.cli import endpoint_command, main, operating
from promotion.cli.reading import endpoint_line
from promotion.config.loading import parse
from promotion.config.settings import Environment
from promotion.domain.model import EndpointState
from promotion.workflows import endpoints as hosting
from tests.cli.doctor_account import account
from tests.fakes import GROUP, FakeService, raises
from tests.rules.test_endpoints import TEXT

NAME = f"promotion-dev-{GROUP}"


class SageMaker:
    """Describes one endpoint."""

    def describe_endpoint(self, **_: str) -> dict[str, Any]:
        return {"EndpointStatus": "InService", "EndpointConfigName": "config-1", "FailureReason": "an alarm went off"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService(config=parse(TEXT))
    fake.promote(1, to="dev")
    monkeypatch.setattr(endpoint_command, "ledger", lambda: fake.ledger)
    monkeypatch.setattr(endpoint_command, "config", lambda: fake.config)
    monkeypatch.setattr(endpoint_command, "client", lambda service: SageMaker())
    return fake


def test_status_says_what_was_recorded_and_what_sagemaker_says(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = EndpointState(name=NAME, status=names.ENDPOINT_FAILED, version=1, config="c", problem="never healthy")
    hosting.record_endpoint(GROUP, "dev", 1, failed, context=fake.context)
    assert main(["endpoint", "status", GROUP, "dev"]) == 0
    said = capsys.readouterr().out
    assert f"the endpoint {NAME} failed and serves v1: never healthy" in said
    assert "InService with config-1: an alarm went off" in said


def test_status_in_json_has_both(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["endpoint", "status", GROUP, "dev", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["endpoint"], found["live"], found["recorded"]["status"]) == (NAME, 1, "")
    assert found["sagemaker"]["EndpointStatus"] == "InService"


def test_an_endpoint_that_sagemaker_does_not_describe_is_shown_with_its_error(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ClientError({"Error": {"Code": "ValidationException", "Message": "not found"}}, "DescribeEndpoint")
    monkeypatch.setattr(SageMaker, "describe_endpoint", raises(missing))
    assert main(["endpoint", "status", GROUP, "dev"]) == 0
    assert f"  SageMaker  {missing}\n" in capsys.readouterr().out
    assert main(["endpoint", "status", GROUP, "dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sagemaker"] == {"unknown": str(missing)}


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (EndpointState(name="e", version=1, removed=True), "the endpoint was removed, and still serves v1."),
        (EndpointState(name="e", removed=True), "the endpoint was removed."),
        (EndpointState(name="e", version=1, status=names.ENDPOINT_IN_SERVICE), "the endpoint e serves v1."),
        (EndpointState(status=names.ENDPOINT_WITHDRAWN), "the endpoint was withdrawn."),
    ],
)
def test_the_recorded_state_is_one_sentence(known: EndpointState, said: str) -> None:
    assert endpoint_line(known) == said


def test_an_environment_without_endpoints_says_where_to_configure_one(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["endpoint", "status", GROUP, "test"]) == 1
    assert "[advanced.environments.test.endpoint]" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["remove", "restore"])
def test_a_change_needs_a_reason(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["endpoint", action, GROUP, "dev"]) == 2
    assert "--reason" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["remove", "restore"])
def test_a_change_is_asked_of_the_decision_function(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def operate(operation: str, given: dict[str, str], *, as_json: bool) -> int:
        asked.append((operation, given))
        return 0

    monkeypatch.setattr(operating, "operate", operate)
    assert main(["endpoint", action, GROUP, "dev", "--reason", "It costs."]) == 0
    assert asked == [(f"endpoint_{action}", {"group": GROUP, "environment": "dev", "reason": "It costs."})]


class Quotas:
    """Service Quotas with one number for every quota."""

    def __init__(self, value: float) -> None:
        self.value = value

    def get_paginator(self, operation: str) -> Quotas:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        kinds = [
            f"ml.{size}.xlarge for {use}"
            for size in ("g5", "m5")
            for use in ("transform job", "processing job", "endpoint")
        ]
        return [{"Quotas": [{"QuotaName": f"{kind} usage", "Value": self.value} for kind in kinds]}]


@pytest.mark.parametrize(("value", "state"), [(0, "fail"), (1, "warn"), (2, "ok")])
def test_an_update_needs_twice_the_instances(value: float, state: str) -> None:
    asked = account(client=lambda service: Quotas(value), config=parse(TEXT))
    found = {each.found.split("“")[1].split("”")[0]: each.state for each in readiness.quota(asked)}
    assert found["ml.g5.xlarge for endpoint usage"] == state


def test_in_an_account_of_its_own_an_environment_counts_alone() -> None:
    """Two environments share the service's account; the third has its own, with endpoints of another size."""
    own = 'name = "prod"\naccount = "444444444444"'
    here = (
        '\n[registry]\naccount = "123456789012"\nregion = "us-east-1"\n[advanced.environments.prod.endpoint]\n'
        'instance_type = "ml.m5.xlarge"\ninstance_count = 3\n'
    )
    config = parse(TEXT.replace('name = "prod"', own, 1) + here)
    asked = account(client=lambda service: Quotas(1), config=config)

    def found(environments: list[Environment] | None) -> dict[str, str]:
        return {each.found.split("“")[1].split("”")[0]: each.found for each in readiness.quota(asked, environments)}

    assert found(None)["ml.g5.xlarge for transform job usage"].endswith("up to 2 at once.")
    assert "ml.m5.xlarge for endpoint usage" not in found(None)
    there = found([config.base_environment("prod")])
    assert there["ml.g5.xlarge for transform job usage"] == "1 of “ml.g5.xlarge for transform job usage”."
    assert there["ml.m5.xlarge for endpoint usage"].endswith("3 needed.")
    assert "ml.g5.xlarge for endpoint usage" not in there
