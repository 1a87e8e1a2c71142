"""Rules with a schedule, which run by the local time, also after the clock was advanced."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
import uuid
from typing import Any

from moto.events.models import events_backends

from local import ACCOUNT, REGION
from local.sources.bus import Bus

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_CRON = re.compile(r"cron\((\S+) (\S+) \S+ \S+ \S+ \S+\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_LOOK_SECONDS = 0.5


class Scheduler(threading.Thread):
    """Start each scheduled rule once when its time has passed, however far the clock was advanced."""

    def __init__(self, bus: Bus, stopping: threading.Event) -> None:
        super().__init__(name="schedules", daemon=True)
        self._bus = bus
        self._stopping = stopping
        self._due: dict[str, float] = {}

    def run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            now = time.time()
            for rule in list(events_backends[ACCOUNT][REGION].describe_event_bus("default").rules.values()):
                if rule.scheduled_expression and rule.state != "DISABLED":
                    due = self._due.setdefault(rule.arn, next_time(rule.scheduled_expression, now))
                    if now >= due:
                        self._due[rule.arn] = next_time(rule.scheduled_expression, now)
                        self._fire(rule)

    def _fire(self, rule: Any) -> None:
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": [rule.arn],
            "detail": {},
        }
        for target in rule.targets:
            self._bus.deliver(rule, target, event)


def next_time(expression: str, now: float) -> float:
    """Return when a rule with this schedule is due next, in seconds since 1970.

    The day fields of a cron expression always mean every day.

    Raises:
        ValueError: the expression is invalid.
    """
    if match := _RATE.fullmatch(expression):
        return now + int(match[1]) * _SECONDS[match[2]]
    if not (match := _CRON.fullmatch(expression)):
        raise ValueError(f"The local service can't read the schedule {expression!r}.")
    minutes, hours = _values(match[1], 60), _values(match[2], 24)
    moment = dt.datetime.fromtimestamp(now, dt.UTC).replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
    while moment.minute not in minutes or moment.hour not in hours:
        moment += dt.timedelta(minutes=1)
    return moment.timestamp()


def _values(field: str, end: int) -> set[int]:
    """Return the values below `end` in a field of a cron expression: `*`, `5`, `0,30`, `8-17`, `0/15` or `8-17/3`."""
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0", "-", str(end - 1)) if span == "*" else span.partition("-")
        after = int(last) if last else end - 1 if step else int(first)
        values |= set(range(int(first), after + 1, int(step or 1)))
    if max(values, default=end) >= end:
        raise ValueError(f"The local service can't read {field!r} in a schedule.")
    return values
