"""The trigger of each function."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.events.models import EventPattern

from promotion import names
from tests.infra.synthesized import Template


def rule_for(template: Template, module: str, kind: str | None = None) -> dict[str, Any]:
    """The rule that starts a function, or fills its queue; where there are several, the one for events of `kind`."""
    function, _ = template.function(module)
    if module == "on_model_registered":
        function, _ = template.the("AWS::SQS::Queue", "WiringRegistrations")
    found = [
        rule
        for rule in template.of_type("AWS::Events::Rule").values()
        if any(target["Arn"] == f"<{function}.Arn>" for target in rule["Targets"])
        and kind in (None, *rule.get("EventPattern", {}).get("detail-type", ()))
    ]
    assert len(found) == 1
    return found[0]


def package_event(status: str, group: str = "summaries") -> dict[str, Any]:
    return {
        "source": names.SAGEMAKER_SOURCE,
        "detail-type": names.PACKAGE_STATE_CHANGE,
        "detail": {"ModelApprovalStatus": status, "ModelPackageGroupName": group, "ModelPackageVersion": 1},
    }


def matches(rule: dict[str, Any], event: dict[str, Any]) -> bool:
    return bool(EventPattern.load(json.dumps(rule["EventPattern"])).matches_event(event))


@pytest.mark.parametrize(
    ("module", "wakes", "sleeps"),
    [
        ("on_model_registered", [names.PENDING], [names.APPROVED, names.REJECTED]),
        ("on_approval_changed", [names.APPROVED, names.REJECTED], [names.PENDING]),
    ],
)
def test_a_package_wakes_the_function_that_its_status_is_about(
    template: Template, module: str, wakes: list[str], sleeps: list[str]
) -> None:
    rule = rule_for(template, module, names.PACKAGE_STATE_CHANGE)
    assert "EventBusName" not in rule, "SageMaker's events come on the default bus"
    assert [matches(rule, package_event(status)) for status in wakes] == [True] * len(wakes)
    assert [matches(rule, package_event(status)) for status in sleeps] == [False] * len(sleeps)
    assert not matches(rule, {**package_event(wakes[0]), "source": "made.up"})


def test_the_end_of_a_job_that_hashes_wakes_who_started_it(template: Template) -> None:
    rule = rule_for(template, "on_model_registered", names.PROCESSING_STATE_CHANGE)
    assert "EventBusName" not in rule, "SageMaker's events come on the default bus"

    def told(name: str, status: str) -> bool:
        detail = {"ProcessingJobName": name, "ProcessingJobStatus": status}
        event = {"source": names.SAGEMAKER_SOURCE, "detail-type": names.PROCESSING_STATE_CHANGE, "detail": detail}
        return matches(rule, event)

    ours = "promotion-hash-summaries-v3-0a1b2c3d-1"
    assert [told(ours, status) for status in ("Completed", "Failed", "Stopped")] == [True] * 3
    assert not told(ours, "InProgress")
    assert not told("promotion-prod-v3-261121-1-score", "Completed")
    assert not told("model-monitoring-1", "Completed")


def test_a_finished_inference_run_wakes_its_function_from_our_own_bus(template: Template) -> None:
    rule = rule_for(template, "on_inference_completed")
    assert rule["EventBusName"] == f"<{template.the('AWS::Events::EventBus', 'WiringBus')[0]}>"
    event = {"source": names.INFERENCE_SOURCE, "detail-type": names.INFERENCE_COMPLETED, "detail": {}}
    assert matches(rule, event)
    # Our own announcement of the same name must not come back as a report.
    assert not matches(rule, {**event, "source": names.EVENT_SOURCE})


@pytest.mark.parametrize("environment", ["dev", "test", "uat", "prod"])
def test_going_live_starts_the_inference_machine_of_that_environment(template: Template, environment: str) -> None:
    machine, _ = template.the("AWS::StepFunctions::StateMachine", f"Inference{environment.title()}Machine")
    rules = [
        rule
        for rule in template.of_type("AWS::Events::Rule").values()
        if any(target["Arn"] == f"<{machine}>" for target in rule["Targets"])
    ]
    assert len(rules) == 1
    for kind in (names.MODEL_PROMOTED, names.MODEL_ROLLED_BACK):
        event = {"source": names.EVENT_SOURCE, "detail-type": kind, "detail": {"environment": environment}}
        assert matches(rules[0], event)
        assert not matches(rules[0], {**event, "detail": {"environment": "elsewhere"}})
    assert not matches(rules[0], {**event, "detail-type": names.MODEL_REVOKED})
    transformer = rules[0]["Targets"][0]["InputTransformer"]
    assert sorted(transformer["InputPathsMap"].values()) == ["$.detail.environment", "$.detail.model_package_group"]


def test_sweep_and_verify_run_on_a_schedule(template: Template) -> None:
    assert rule_for(template, "sweep")["ScheduleExpression"] == "rate(5 minutes)"
    assert rule_for(template, "verify")["ScheduleExpression"] == "rate(1 day)"


def test_events_that_a_rule_cannot_deliver_are_kept(template: Template) -> None:
    undelivered, _ = template.the("AWS::SQS::Queue", "WiringUndelivered")
    for name, rule in template.of_type("AWS::Events::Rule").items():
        for target in rule["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": f"<{undelivered}.Arn>"}, name


def test_failed_events_of_asynchronous_functions_are_kept(template: Template) -> None:
    undelivered, _ = template.the("AWS::SQS::Queue", "WiringUndelivered")
    kept = {
        config["FunctionName"]: config["DestinationConfig"]["OnFailure"]["Destination"]
        for config in template.of_type("AWS::Lambda::EventInvokeConfig").values()
    }
    for module in ("on_approval_changed", "on_inference_completed", "sweep", "verify"):
        assert kept[f"<{template.function(module)[0]}>"] == f"<{undelivered}.Arn>"


def test_only_a_new_head_of_the_ledger_wakes_the_projector(template: Template) -> None:
    _, mapping = template.the("AWS::Lambda::EventSourceMapping", "FunctionsOnLedgerAppendedLedgerStream")
    ledger, table = template.the("AWS::DynamoDB::Table", "StoreLedger")
    assert mapping["EventSourceArn"] == f"<{ledger}.StreamArn>"
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    (only,) = mapping["FilterCriteria"]["Filters"]
    pattern = EventPattern.load(only["Pattern"])
    head = {"dynamodb": {"Keys": {"pk": {"S": "GROUP#summaries"}, "sk": {"S": "HEAD"}}}}
    event = {"dynamodb": {"Keys": {"pk": {"S": "GROUP#summaries"}, "sk": {"S": "EVENT#0000000001"}}}}
    assert pattern.matches_event(head)
    assert not pattern.matches_event(event)
    # LATEST would lose what is appended while the mapping is being made.
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BisectBatchOnFunctionError"] is True
    assert "OnFailure" in mapping["DestinationConfig"]


def test_the_projector_takes_one_group_at_a_time_and_few_at_once(template: Template) -> None:
    _, mapping = template.the("AWS::Lambda::EventSourceMapping", "FunctionsOnProjectionDueWakeQueue")
    wake, queue = template.the("AWS::SQS::Queue", "WiringWake")
    assert mapping["EventSourceArn"] == f"<{wake}.Arn>"
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 10
    assert queue["FifoQueue"] is True
    assert queue["ContentBasedDeduplication"] is False
    _, function = template.function("on_projection_due")
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
    dead, letters = template.the("AWS::SQS::Queue", "WiringDeadLetters")
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": f"<{dead}.Arn>", "maxReceiveCount": 5}
    assert letters["FifoQueue"] is True


def test_registrations_take_few_functions_at_once_and_are_kept(template: Template) -> None:
    _, mapping = template.the("AWS::Lambda::EventSourceMapping", "FunctionsOnModelRegisteredRegistrationsQueue")
    registrations, queue = template.the("AWS::SQS::Queue", "WiringRegistrations")
    assert mapping["EventSourceArn"] == f"<{registrations}.Arn>"
    assert mapping["BatchSize"] == 1
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 5
    _, function = template.function("on_model_registered")
    assert queue["VisibilityTimeout"] > function["Timeout"]
    undelivered, _ = template.the("AWS::SQS::Queue", "WiringUndelivered")
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": f"<{undelivered}.Arn>", "maxReceiveCount": 5}


def test_no_function_reserves_concurrency(template: Template) -> None:
    for name, function in template.of_type("AWS::Lambda::Function").items():
        assert "ReservedConcurrentExecutions" not in function, f"{name} would fail in a new account, whose limit is 10"
