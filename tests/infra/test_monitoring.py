"""Alarms: each described, each heard."""

from __future__ import annotations

import re

import pytest

from infra.functions import SIZES
from promotion.config.settings import Endpoint
from promotion.domain.endpoint_plan import alarms
from tests.infra.simulation import allowed
from tests.infra.synthesized import ROOT, Template, synthesize
from tests.infra.test_endpoints import configured

BEGINNING = "Monitoring"


def alarm_names(template: Template) -> set[str]:
    return {name[len(BEGINNING) : -8] for name in template.of_type("AWS::CloudWatch::Alarm")}


def described() -> tuple[set[str], str]:
    """The alarms that have a row in docs/operations.md, and the text about them."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    text = page.split("## Alarms", 1)[1].split("\n## ", 1)[0]
    return {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}, text


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """Endpoints, a schedule, and environments in accounts of their own: the service's stack and one environment's."""
    folder = tmp_path_factory.mktemp("several")
    config = configured(folder, "accounts.toml", "dev", "prod")
    text = config.read_text(encoding="utf-8").replace("[inference]", '[inference]\nschedule = "rate(1 day)"', 1)
    config.write_text(text, encoding="utf-8")
    synthesize(config, folder / "out")
    return {name: Template(folder / "out" / f"{name}.template.json") for name in ("promotion", "promotion-prod")}


def test_every_alarm_has_its_row_in_operations_and_every_row_its_alarm(
    template: Template, several: dict[str, Template]
) -> None:
    names = alarm_names(template) | alarm_names(several["promotion"])
    assert {re.sub(r"^(Inference(Failed|TimedOut)).*", r"\1…", name) for name in names} == described()[0]
    assert "OnLiveChangedErrors" in names


def test_alarms_in_other_accounts_are_described_too(several: dict[str, Template]) -> None:
    found = {name[:-8].removesuffix("Alarm") for name in several["promotion-prod"].of_type("AWS::CloudWatch::Alarm")}
    assert found == {"InferenceFailed", "InferenceTimedOut", "Undelivered"}
    elsewhere = described()[1].partition("An environment in an account of its own")[2]
    assert {name for name in found if f"`{name}`" in elsewhere} == found


def test_alarms_that_take_a_deployment_back_are_described_too() -> None:
    settings = Endpoint(largest_latency_ms=250)
    named = {alarm["AlarmName"].removeprefix("e") for alarm in alarms("e", "c", settings)}
    assert named == {"-errors", "-latency"}
    assert {name for name in named if f"`…{name}`" in described()[1]} == named


def test_every_alarm_reaches_the_topic(template: Template) -> None:
    topic, _ = template.the("AWS::SNS::Topic", "Alarms")
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == [f"<{topic}>"], name
        assert alarm["TreatMissingData"] == ("missing" if "NotVerified" in name else "notBreaching"), name


def test_a_verification_that_no_longer_comes_is_told_and_one_that_has_not_come_yet_is_not(template: Template) -> None:
    """An alarm begins in INSUFFICIENT_DATA, and only a change of its state is an action."""
    topic, _ = template.the("AWS::SNS::Topic", "Alarms")
    _, alarm = template.the("AWS::CloudWatch::Alarm", "MonitoringNotVerified")
    assert (alarm["TreatMissingData"], alarm["InsufficientDataActions"]) == ("missing", [f"<{topic}>"])


def test_metrics_of_ours_are_told_by_installation(template: Template, several: dict[str, Template]) -> None:
    named = {"service": "promotion"}
    for made in (template, several["promotion"]):
        for name, alarm in made.of_type("AWS::CloudWatch::Alarm").items():
            if alarm.get("Namespace") == "Promotion":
                said = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
                assert said.items() >= named.items(), name
    variables = template.function("verify")[1]["Environment"]["Variables"]
    assert variables["POWERTOOLS_SERVICE_NAME"] == "promotion"


def test_every_function_and_every_machine_has_an_alarm(template: Template) -> None:
    names = alarm_names(template)
    for function in template.of_type("AWS::Lambda::Function"):
        assert function[len("Functions") : -8] + "Errors" in names
    for environment in ("Dev", "Test", "Uat", "Prod"):
        assert {f"InferenceFailed{environment}", f"InferenceTimedOut{environment}"} <= names


def test_only_cloudwatch_and_this_account_speak_through_the_topic(template: Template) -> None:
    for policy in template.of_type("AWS::SNS::TopicPolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}


def test_mail_that_bounces_or_is_complained_of_is_counted_and_alarms(template: Template) -> None:
    name, _ = template.the("AWS::SES::ConfigurationSet", "Mails")
    _, identity = template.the("AWS::SES::EmailIdentity", "Sender")
    assert identity["ConfigurationSetAttributes"] == {"ConfigurationSetName": f"<{name}>"}, "no mail goes out uncounted"
    _, lost = template.the("AWS::SES::ConfigurationSetEventDestination", "MailsLost")
    assert lost["EventDestination"]["Enabled"] is True
    assert set(lost["EventDestination"]["MatchingEventTypes"]) == {"bounce", "complaint", "reject"}
    [dimension] = lost["EventDestination"]["CloudWatchDestination"]["DimensionConfigurations"]
    for alarm, metric in (("MailBounced", "Bounce"), ("MailComplained", "Complaint")):
        _, found = template.the("AWS::CloudWatch::Alarm", f"Monitoring{alarm}")
        assert (found["Namespace"], found["MetricName"]) == ("AWS/SES", metric)
        assert found["Dimensions"] == [{"Name": dimension["DimensionName"], "Value": f"<{name}>"}]


def test_every_function_is_traced(template: Template) -> None:
    for module in SIZES:
        assert template.function(module)[1]["TracingConfig"] == {"Mode": "Active"}, module
        assert allowed(template.statements(template.role_of(module)), "xray:PutTraceSegments", "*"), module
