"""Rules match and rewrite events as EventBridge does; schedules come due as written."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from moto.events.models import EventPattern

from local import moto_patches
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


def test_an_input_path_picks_a_part() -> None:
    assert json.loads(target_input({"InputPath": "$.detail.containers[1]"}, EVENT)) == {"image": "y", "size": 2}


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
    ],
)
def test_schedules_come_due(expression: str, now: str, expected: str) -> None:
    moment = dt.datetime.fromisoformat(f"{now}+00:00").timestamp()
    assert dt.datetime.fromtimestamp(next_time(expression, moment), dt.UTC).isoformat() == f"{expected}+00:00"
