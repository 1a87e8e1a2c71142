"""A schedule of runs is one rule and one function, however many groups and environments there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from moto.events.models import EventPattern

from promotion import names
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, synthesize

HERE = Path(__file__).parent
SCHEDULE = '[inference]\nschedule = "cron(0 2 * * ? *)"'
RUN = {
    "source": names.SCHEDULE_SOURCE,
    "detail-type": names.RUN_SCHEDULED,
    "detail": {"model_package_group": "summaries", "environment": "test"},
}


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("schedule")
    text = (HERE / "promotion.toml").read_text(encoding="utf-8").replace("[inference]", SCHEDULE, 1)
    config = folder / "promotion.toml"
    config.write_text(text, encoding="utf-8")
    return synthesize(config, folder / "out", nag="true")


def test_without_a_schedule_nothing_of_it_is_made(template: Template) -> None:
    assert names.SCHEDULE_SOURCE not in json.dumps(template.document)
    assert not [name for name in template.resources if "Schedule" in name]


def test_one_rule_more_for_all_groups_and_environments(scheduled: Template, template: Template) -> None:
    before, now = template.of_type("AWS::Events::Rule"), scheduled.of_type("AWS::Events::Rule")
    [made] = now.keys() - before.keys()
    assert now[made]["ScheduleExpression"] == "cron(0 2 * * ? *)"
    function = scheduled.function("schedule_runs")[0]
    assert [target["Arn"] for target in now[made]["Targets"]] == [f"<{function}.Arn>"]
    assert len(now) < 30


def test_the_event_starts_the_machine_of_its_environment_alone(scheduled: Template) -> None:
    starting = [
        rule
        for rule in scheduled.of_type("AWS::Events::Rule").values()
        if "EventPattern" in rule and EventPattern.load(json.dumps(rule["EventPattern"])).matches_event(RUN)
    ]
    [rule] = starting
    assert "of test" in rule["Description"]
    given = rule["Targets"][0]["InputTransformer"]["InputPathsMap"].values()
    assert set(given) == {"$.detail.model_package_group", "$.detail.environment"}


def test_the_function_reads_the_ledger_and_announces_runs_and_nothing_else(scheduled: Template) -> None:
    role = scheduled.role_of("schedule_runs")
    statements = scheduled.statements(role)
    bus = f"<{scheduled.the('AWS::Events::EventBus', 'WiringBus')[0]}.Arn>"
    ledger = f"<{scheduled.the('AWS::DynamoDB::Table', 'StoreLedger')[0]}.Arn>"
    assert allowed(statements, "events:PutEvents", bus, {"events:source": names.SCHEDULE_SOURCE})
    assert not allowed(statements, "events:PutEvents", bus, {"events:source": names.EVENT_SOURCE})
    assert allowed(statements, "dynamodb:Query", f"{ledger}/index/{names.BOARD_INDEX}")
    assert not allowed(statements, "dynamodb:PutItem", ledger)
    _, policy = scheduled.the("AWS::Events::EventBusPolicy", "WiringBuscdkOnlyThePipelines")
    assert f"<{role}.Arn>" in json.dumps(policy)
