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

    In cron expressions, minutes and hours can be numbers, lists or `*`; the day fields always mean every day.
    """
    if match := _RATE.fullmatch(expression):
        return now + int(match[1]) * _SECONDS[match[2]]
    fields = expression.removeprefix("cron(").removesuffix(")").split()
    moment = dt.datetime.fromtimestamp(now, dt.UTC).replace(second=0, microsecond=0)
    for _ in range(2 * 24 * 60):
        moment += dt.timedelta(minutes=1)
        if _falls_on(fields[0], moment.minute) and _falls_on(fields[1], moment.hour):
            return moment.timestamp()
    raise ValueError(f"The local service can't read the schedule {expression!r}.")


def _falls_on(field: str, value: int) -> bool:
    if field in {"*", "?"}:
        return True
    if "/" in field:
        start, step = field.split("/")
        first = 0 if start == "*" else int(start)
        return value >= first and (value - first) % int(step) == 0
    return str(value) in field.split(",")
