"""Resources for endpoints: none without a configured one, and no right too many with one."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from promotion import names
from tests.infra.synthesized import ROOT, Template, actions, resources, run_app, synthesize

HERE = Path(__file__).parent
SECTION = '[advanced.environments.{name}.endpoint]\ngroups = ["chat-*"]\n'
MODULE = "on_live_changed"


def configured(folder: Path, base: str, *environments: str) -> Path:
    """A test configuration with endpoints in some environments."""
    text = (HERE / base).read_text(encoding="utf-8")
    text += "".join(SECTION.replace("{name}", name) for name in environments)
    path = folder / "promotion.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Endpoints in dev and prod, one account; linted and looked at by cdk-nag on the way."""
    folder = tmp_path_factory.mktemp("endpoints")
    return synthesize(configured(folder, "promotion.toml", "dev", "prod"), folder / "out", nag="true")


def statements(template: Template) -> list[dict[str, Any]]:
    return template.statements(template.role_of(MODULE))


def test_without_an_endpoint_nothing_of_it_is_made(template: Template) -> None:
    assert not [name for name in template.resources if "Endpoint" in name or "LiveChanged" in name]
    assert "sagemaker:CreateEndpoint" not in json.dumps(template.document)


def test_it_is_woken_by_what_is_live_by_sagemaker_and_by_the_clock(served: Template) -> None:
    function = f"<{served.function(MODULE)[0]}.Arn>"
    woken = {
        str(
            rule["Description"]
            and (tuple(rule.get("EventPattern", {}).get("detail-type", [])) or rule["ScheduleExpression"])
        )
        for rule in served.of_type("AWS::Events::Rule").values()
        if any(target["Arn"] == function for target in rule["Targets"])
    }
    assert woken == {
        str((names.MODEL_PROMOTED, names.MODEL_ROLLED_BACK, names.MODEL_REVOKED)),
        str((names.ENDPOINT_CHANGED,)),
        str(names.ENDPOINT_STATE_CHANGES),
        "rate(5 minutes)",
    }


def test_failed_events_are_not_lost(served: Template) -> None:
    function = served.function(MODULE)[0]
    [config] = [
        each
        for each in served.of_type("AWS::Lambda::EventInvokeConfig").values()
        if each["FunctionName"] == f"<{function}>"
    ]
    assert config["MaximumRetryAttempts"] == 2
    assert "Undelivered" in str(config["DestinationConfig"]["OnFailure"]["Destination"])
    rules = [r for r in served.of_type("AWS::Events::Rule").values() if f"<{function}.Arn>" in str(r["Targets"])]
    assert all("DeadLetterConfig" in target for rule in rules for target in rule["Targets"])


def test_it_touches_endpoints_of_ours_alone(served: Template) -> None:
    writes = [s for s in statements(served) if any(a.startswith("sagemaker:") and "List" not in a for a in actions(s))]
    reach = {resource.rpartition(":")[2] for s in writes for resource in resources(s)}
    assert reach == {
        "endpoint/promotion-dev-*", "endpoint-config/promotion-dev-live-*", "model/promotion-dev-live-*",
        "endpoint/promotion-prod-*", "endpoint-config/promotion-prod-live-*", "model/promotion-prod-live-*",
    }  # fmt: skip


def test_the_names_that_the_function_gives_are_within_its_reach(served: Template) -> None:
    reach = [resource.rpartition(":")[2] for s in statements(served) for resource in resources(s) if ":" in resource]
    for group in ("chat", "A" * 63, "chat-about-" + "harbours-" * 5 + "x"):
        endpoint = names.endpoint_name("{service}-{environment}-{group}", "/promotion", "prod", group)
        hosted = names.hosted_name("/promotion", "prod", group, 12, "f" * 64)
        for made in (f"endpoint/{endpoint}", f"endpoint-config/{hosted}", f"model/{hosted}"):
            assert any(fnmatchcase(made, pattern) for pattern in reach), made


def test_it_passes_the_models_roles_to_sagemaker_and_nobody_else(served: Template) -> None:
    passing = [s for s in statements(served) if "iam:PassRole" in actions(s)]
    assert {resource for s in passing for resource in resources(s)} == {
        f"<{name}.Arn>"
        for name in served.of_type("AWS::IAM::Role")
        if name.startswith(("InferenceDevExecutionRole", "InferenceProdExecutionRole"))
    }
    assert all(s["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}} for s in passing)


def test_it_writes_neither_ledger_nor_parameters(served: Template) -> None:
    may = {action for s in statements(served) for action in actions(s)}
    assert not [
        action for action in may if action.startswith(("dynamodb:Put", "dynamodb:Update", "ssm:Put", "kms:Sign"))
    ]


def test_the_models_role_lets_sagemaker_see_the_alarms(served: Template) -> None:
    role, _ = served.the("AWS::IAM::Role", "InferenceDevExecutionRole")
    [seen] = [s for s in served.statements(role) if "cloudwatch:DescribeAlarms" in actions(s)]
    assert resources(seen)[0].endswith(":alarm:promotion-dev-*-*")
    plain, _ = served.the("AWS::IAM::Role", "InferenceUatExecutionRole")
    assert not [s for s in served.statements(plain) if "cloudwatch:DescribeAlarms" in actions(s)]


def test_it_knows_what_models_run_as(served: Template) -> None:
    told = served.function(MODULE)[1]["Environment"]["Variables"]
    roles = json.loads(told[names.EXECUTION_ROLES])
    assert roles.keys() == {"dev", "prod"}
    assert roles["dev"].startswith("<InferenceDevExecutionRole")


def test_its_errors_raise_an_alarm_that_is_explained(served: Template) -> None:
    assert served.the("AWS::CloudWatch::Alarm", "MonitoringOnLiveChangedErrors")
    assert "`OnLiveChangedErrors`" in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_an_environment_elsewhere_opens_a_role_to_that_function_alone(tmp_path: Path) -> None:
    finished = run_app(configured(tmp_path, "accounts.toml", "prod"), tmp_path / "out", bundle="false")
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    there = Template(tmp_path / "out" / "promotion-prod.template.json")
    role, properties = there.the("AWS::IAM::Role", "Endpoints")
    [trust] = properties["AssumeRolePolicyDocument"]["Statement"]
    assert properties["RoleName"] == "promotion-prod-endpoints"
    assert trust["Condition"]["ArnEquals"]["aws:PrincipalArn"] == [
        "arn:aws:iam::111111111111:role/promotion-on-live-changed"
    ]
    assert any("sagemaker:CreateEndpoint" in actions(s) for s in there.statements(role))
    # How they fare comes home as it does here, by SageMaker's own events.
    told, rule = there.the("AWS::Events::Rule", "ReportEndpoints")
    assert rule["EventPattern"]["detail"] == {"EndpointName": [{"prefix": "promotion-prod-"}]}
    assert "EventBusName" not in rule, told
    service = Template(tmp_path / "out" / "promotion.template.json")
    bus = Template(tmp_path / "out" / "promotion-EventBus.template.json")
    _, policy = bus.the("AWS::Events::EventBusPolicy", "BuscdkNothingElse")
    condition = policy["Statement"]["Condition"]
    assert condition["StringNotEquals"]["events:source"] == [
        names.INFERENCE_SOURCE,
        "aws.sagemaker",
        names.REPORT_SOURCE,
    ]
    assert "444444444444" in condition["StringEquals"]["aws:PrincipalAccount"]
    assert service.the("AWS::Events::Rule", "EndpointsOnEndpointElsewhere")[1]["EventBusName"]
    becoming = [s for s in statements(service) if "sts:AssumeRole" in actions(s)]
    assert "arn:aws:iam::444444444444:role/promotion-prod-endpoints" in {r for s in becoming for r in resources(s)}
    assert json.loads(service.function(MODULE)[1]["Environment"]["Variables"][names.EXECUTION_ROLES]) == {
        "prod": "arn:aws:iam::444444444444:role/promotion-prod-execution"
    }
