"""EventBridge: patterns for arrays of objects, reserved sources, more kinds of targets, checked buses and schedules."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable
from typing import Any

from moto.events.exceptions import ResourceNotFoundException, ValidationException
from moto.events.models import EventPattern, EventsBackend, Rule, events_backends

from local import ACCOUNT, REGION
from local.sources.schedules import next_time

# Set by the local service: called with (rule, target, event) for every target of a matching rule.
deliver: list[Callable[[Any, dict[str, Any], dict[str, Any]], None]] = []

_put: Callable[[Any, list[dict[str, Any]]], list[dict[str, Any]]] = EventsBackend.put_events


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    matches = EventPattern.matches_event
    send = Rule.send_to_targets

    def matches_event(self: Any, event: dict[str, Any]) -> bool:
        # In moto, a rule with a schedule and no pattern matches every event.
        return self._raw_pattern is not None and _matches(self, json.loads(json.dumps(event)), self._pattern)

    def send_to_targets(self: Any, original_event: dict[str, Any], transform_input: bool = True) -> None:
        """Send to Lambda and Step Functions, too, for which moto's PutEvents raises NotImplementedError."""
        if not deliver:
            # A test that uses moto alone, in a process in which another one has applied these patches.
            send(self, original_event, transform_input)
            return
        if self.state == "DISABLED" or not self.event_pattern.matches_event(original_event):
            return
        for target in self.targets:
            deliver[0](self, target, _as_delivered(original_event))

    def put_events(self: Any, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse events with a source that begins with `aws.`, which is reserved for AWS."""
        entries: list[dict[str, Any]] = []
        for event in events:
            if str(event.get("Source", "")).startswith("aws."):
                entries.append(
                    {"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": "Not authorized for the source."}
                )
            else:
                entries += _put(self, [event])
        return entries

    put_rule = EventsBackend.put_rule

    def put_valid_rule(self: Any, *args: Any, scheduled_expression: str | None = None, **kwargs: Any) -> Any:
        """Refuse a schedule that can't be read; moto accepts anything within `cron()`."""
        if scheduled_expression:
            try:
                next_time(scheduled_expression, 0)
            except ValueError:
                raise ValidationException("Parameter ScheduleExpression is not valid.") from None
        return put_rule(self, *args, scheduled_expression=scheduled_expression, **kwargs)

    EventsBackend.put_rule = put_valid_rule
    put_targets = EventsBackend.put_targets

    def put_existing_targets(self: Any, name: str, event_bus_arn: str | None, targets: list[dict[str, Any]]) -> None:
        """Refuse a target whose bus doesn't exist: https://github.com/aws/aws-cdk/issues/3323."""
        for target in targets:
            _, _, service, region, account, resource = target["Arn"].split(":", 5)
            bus = resource.removeprefix("event-bus/")
            if service == "events" and bus != resource and bus not in events_backends[account][region].event_buses:
                raise ResourceNotFoundException(f"Event bus {bus} does not exist.")
        put_targets(self, name, event_bus_arn, targets)

    EventsBackend.put_targets = put_existing_targets
    EventPattern.matches_event = functools.wraps(matches)(matches_event)
    Rule.send_to_targets = send_to_targets
    EventsBackend.put_events = put_events


def publish(source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
    """Put an event from AWS on the default bus."""
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail), "Resources": resources}
    _put(events_backends[ACCOUNT][REGION], [entry])


def _matches(pattern: Any, node: Any, wanted: dict[str, Any]) -> bool:
    """Match an array of objects: one of them must match the whole pattern at that position."""
    for key, value in wanted.items():
        if key == "$or":
            if not any(_matches(pattern, node, each) for each in value):
                return False
        elif isinstance(value, dict):
            below = node.get(key, {}) if isinstance(node, dict) else {}
            candidates = below if isinstance(below, list) else [below]
            if not any(_matches(pattern, each, value) for each in candidates if isinstance(each, dict)):
                return False
        elif not pattern._does_event_match(node if isinstance(node, dict) else {}, {key: value}):
            return False
    return True


def _as_delivered(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event in the form in which a target gets it; moto stores its time as a number."""
    time = event.get("time")
    if isinstance(time, int | float):
        time = dt.datetime.fromtimestamp(time, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = ("id", "detail-type", "source", "account", "region", "resources", "detail")
    return {"version": "0", **{key: event[key] for key in kept}, "time": str(time)}
