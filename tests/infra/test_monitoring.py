"""Alarms: each described, each heard."""

from __future__ import annotations

from tests.infra.synthesized import ROOT, Template

BEGINNING = "Monitoring"


def alarm_names(template: Template) -> set[str]:
    return {name[len(BEGINNING) : -8] for name in template.of_type("AWS::CloudWatch::Alarm")}


def test_every_alarm_is_described_in_operations(template: Template) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    text = page.split("## Alarms", 1)[1].split("\n## ", 1)[0]
    described = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    named = {"InferenceFailed…" if name.startswith("InferenceFailed") else name for name in alarm_names(template)}
    assert named == described


def test_every_alarm_reaches_the_topic(template: Template) -> None:
    topic, _ = template.the("AWS::SNS::Topic", "MonitoringTopic")
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == [f"<{topic}>"], name
        assert alarm["TreatMissingData"] == ("breaching" if "NotVerified" in name else "notBreaching"), name


def test_every_function_and_every_machine_has_an_alarm(template: Template) -> None:
    names = alarm_names(template)
    for function in template.of_type("AWS::Lambda::Function"):
        assert function[len("Functions") : -8] + "Errors" in names
    for environment in ("Dev", "Test", "Uat", "Prod"):
        assert f"InferenceFailed{environment}" in names


def test_only_cloudwatch_and_this_account_speak_through_the_topic(template: Template) -> None:
    for policy in template.of_type("AWS::SNS::TopicPolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
