"""Alarms: each described, each heard."""

from __future__ import annotations

import re

from infra.functions import SIZES
from tests.infra.simulation import allowed
from tests.infra.synthesized import ROOT, Template

BEGINNING = "Monitoring"


def alarm_names(template: Template) -> set[str]:
    return {name[len(BEGINNING) : -8] for name in template.of_type("AWS::CloudWatch::Alarm")}


def test_every_alarm_is_described_in_operations(template: Template) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    text = page.split("## Alarms", 1)[1].split("\n## ", 1)[0]
    described = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    named = {re.sub(r"^(Inference(Failed|TimedOut)).*", r"\1…", name) for name in alarm_names(template)}
    # Endpoints have a function only where an environment has an endpoint.
    assert named | {"OnLiveChangedErrors"} == described


def test_every_alarm_reaches_the_topic(template: Template) -> None:
    topic, _ = template.the("AWS::SNS::Topic", "Alarms")
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == [f"<{topic}>"], name
        assert alarm["TreatMissingData"] == ("breaching" if "NotVerified" in name else "notBreaching"), name


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
