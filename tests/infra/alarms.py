"""Alarms as the template has them, and metrics as functions emit them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.infra.synthesized import Template

# Namespace, name, dimensions and value.
Emitted: TypeAlias = tuple[str, str, Mapping[str, str], float]


@dataclass(frozen=True)
class Watched:
    """One metric of an alarm, as the template has it."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    statistic: str
    period_s: int


def watched(alarm: Mapping[str, Any]) -> list[Watched]:
    """The metrics of an alarm, of its expression where it has one."""
    if "MetricName" in alarm:
        return [_one(alarm, alarm["Statistic"], alarm["Period"])]
    stats = [each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each]
    return [_one(each["Metric"], each["Stat"], each["Period"]) for each in stats]


def _one(metric: Mapping[str, Any], statistic: str, period_s: int) -> Watched:
    dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", ())}
    return Watched(metric["Namespace"], metric["MetricName"], dimensions, statistic, period_s)


def goes_off(alarm: Mapping[str, Any], emitted: Sequence[Emitted]) -> bool:
    """Return True if an alarm on one metric goes off, with `emitted` in each of its periods."""
    [metric] = watched(alarm)
    found = [
        value
        for namespace, name, dimensions, value in emitted
        if (namespace, name, dimensions) == (metric.namespace, metric.name, metric.dimensions)
    ]
    if metric.statistic == "SampleCount":
        value = float(len(found))
    elif not found:
        return False
    else:
        value = {"Sum": sum(found), "Maximum": max(found)}[metric.statistic]
    match alarm["ComparisonOperator"]:
        case "GreaterThanOrEqualToThreshold":
            return bool(value >= alarm["Threshold"])
        case "LessThanThreshold":
            return bool(value < alarm["Threshold"])
    raise AssertionError(alarm["ComparisonOperator"])


def emitted(said: str) -> list[Emitted]:
    """Return CloudWatch's metrics from lines in the embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    found: list[Emitted] = []
    for line in said.splitlines():
        document = json.loads(line) if line.startswith("{") and "_aws" in line else {}
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", ()):
            for names_ in directive["Dimensions"]:
                for metric in directive["Metrics"]:
                    values = document[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        dimensions = {name: document[name] for name in names_}
                        found.append((directive["Namespace"], metric["Name"], dimensions, float(value)))
    return found


def alarms(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Alarms by what they are called in docs/operations.md."""
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        yield name[:-8].removeprefix("Monitoring").removesuffix("Alarm"), alarm
