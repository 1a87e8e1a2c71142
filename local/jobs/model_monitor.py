"""Start executions of Model Monitor's schedules when they are due, also after the clock was advanced."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time

from moto.sagemaker.models import sagemaker_backends

from local import ACCOUNT, REGION
from local.moto_patches.model_monitor import ONCE, Schedule, schedules
from local.sources.schedules import next_time

log = logging.getLogger("local.monitoring")
_LOOK_SECONDS = 0.5


class MonitoringScheduler(threading.Thread):
    """Run each schedule once when its time has passed, however far the clock was advanced; `NOW` only once."""

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__(name="monitoring", daemon=True)
        self._stopping = stopping
        self._due: dict[Schedule, float] = {}

    def run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            now = time.time()
            backend = sagemaker_backends[ACCOUNT][REGION]
            for schedule in list(schedules(backend).values()):
                once, begun = schedule.expression == ONCE, schedule.created_at
                due = self._due.setdefault(schedule, begun if once else next_time(schedule.expression, begun))
                if now >= due:
                    self._due[schedule] = float("inf") if once else next_time(schedule.expression, now)
                    log.info("monitoring schedule %s is due", schedule.name)
                    schedule.execute(backend, dt.datetime.fromtimestamp(now, dt.UTC))
