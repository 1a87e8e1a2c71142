"""Rules match and rewrite events as EventBridge does; schedules come due as written."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.events.models import EventPattern, events_backends

from local import ACCOUNT, REGION, moto_patches
from local.sources.bus import target_input
from local.sources.schedules import next_time

EVENT: dict[str, Any] = {
    "source": "promotion",
    "detail-type": "Model Promoted",
    "detail": {
        "model_package_group": 'a "quoted" name',
        "environment": "dev",
        "version": 3,
        "containers": [{"image": "x", "size": 1}, {"image": "y", "size": 2}],
    },
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["promotion"]}, True),
        ({"source": [{"prefix": "promo"}], "detail": {"version": [{"numeric": [">", 2]}]}}, True),
        ({"detail": {"environment": [{"anything-but": ["prod"]}]}}, True),
        ({"detail": {"missing": [{"exists": False}]}}, True),
        ({"detail": {"missing": ["x"]}}, False),
        ({"$or": [{"source": ["z"]}, {"detail": {"version": [3]}}]}, True),
        ({"$or": [{"source": ["z"]}, {"detail": {"version": [4]}}]}, False),
        ({"detail": {"containers": {"image": ["y"]}}}, True),
        ({"detail": {"containers": {"image": ["y"], "size": [2]}}}, True),
        ({"detail": {"containers": {"image": ["y"], "size": [1]}}}, False),
        ({"detail": {"containers": {"image": ["z"]}}}, False),
    ],
)
def test_patterns(pattern: dict[str, Any], expected: bool) -> None:
    moto_patches.apply()
    assert EventPattern.load(json.dumps(pattern)).matches_event(EVENT) is expected


def test_a_rule_without_a_pattern_takes_no_event() -> None:
    moto_patches.apply()
    assert not EventPattern.load(None).matches_event(EVENT)


def test_a_target_gets_the_whole_event_unless_told() -> None:
    assert json.loads(target_input({}, EVENT)) == EVENT


def test_a_target_gets_the_constant_that_it_was_given() -> None:
    assert target_input({"Input": '{"sweep": true}'}, EVENT) == '{"sweep": true}'


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.detail.containers[1]", {"image": "y", "size": 2}),
        ("$.detail.containers[2]", None),
        ("$.detail.version.major", None),
    ],
)
def test_an_input_path_picks_a_part(path: str, expected: object) -> None:
    assert json.loads(target_input({"InputPath": path}, EVENT)) == expected


def test_a_transformer_can_pass_the_whole_event() -> None:
    target = {"InputTransformer": {"InputTemplate": '{"told": <aws.events.event.json>}'}}
    assert json.loads(target_input(target, EVENT)) == {"told": EVENT}


def test_a_transformer_fills_strings_and_values() -> None:
    target = {
        "InputTransformer": {
            "InputPathsMap": {"group": "$.detail.model_package_group", "version": "$.detail.version"},
            "InputTemplate": '{"group":<group>,"label":"v<version> of <group>","version":<version>}',
        }
    }
    assert json.loads(target_input(target, EVENT)) == {
        "group": 'a "quoted" name',
        "label": 'v3 of a "quoted" name',
        "version": 3,
    }


@pytest.mark.parametrize(
    ("expression", "now", "expected"),
    [
        ("rate(5 minutes)", "2026-01-01T00:00:30", "2026-01-01T00:05:30"),
        ("rate(1 day)", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("cron(0 3 * * ? *)", "2026-01-01T03:00:10", "2026-01-02T03:00:00"),
        ("cron(0/15 * * * ? *)", "2026-01-01T00:16:00", "2026-01-01T00:30:00"),
        ("cron(*/20 * * * ? *)", "2026-01-01T00:40:00", "2026-01-01T01:00:00"),
        ("cron(0 8-17 ? * MON-FRI *)", "2026-01-01T17:00:00", "2026-01-02T08:00:00"),
        ("cron(5,35 08-17/3 * * ? *)", "2026-01-01T08:35:00", "2026-01-01T11:05:00"),
    ],
)
def test_schedules_come_due(expression: str, now: str, expected: str) -> None:
    moment = dt.datetime.fromisoformat(f"{now}+00:00").timestamp()
    assert dt.datetime.fromtimestamp(next_time(expression, moment), dt.UTC).isoformat() == f"{expected}+00:00"


@pytest.mark.parametrize(
    "expression",
    ["cron(61 3 * * ? *)", "cron(0 24 * * ? *)", "cron(0 three * * ? *)", "cron(0 17-8 * * ? *)", "cron(0 3)"],
)
def test_a_schedule_that_is_none_is_refused(moto: None, expression: str) -> None:
    events = boto3.client("events", region_name=REGION)
    with pytest.raises(ClientError, match="Parameter ScheduleExpression is not valid"):
        events.put_rule(Name="daily", ScheduleExpression=expression)
    assert not events_backends[ACCOUNT][REGION].describe_event_bus("default").rules
