"""A Lambda function: its settings from the template, and the processes that run it."""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import REGION
from local.children import Children, Ending, describe, plain_environment
from local.runtime.runtime_api import Invocation, RuntimeApi

_ENTRY = Path(__file__).with_name("entry.py")
_START_SECONDS = 60
_LOOK_SECONDS = 0.2
# AWS retries an asynchronous event after one minute and then after two; here the delays are shorter.
RETRY_SECONDS = (0.5, 1.0)
log = logging.getLogger("local.functions")


@dataclass(frozen=True)
class Settings:
    """Settings of a function in the template."""

    name: str
    arn: str
    handler: str
    role_arn: str
    timeout_seconds: float
    memory_mb: int
    environment: Mapping[str, str]
    dead_letter: str | None = None
    retries: int = 2

    @property
    def module(self) -> str:
        """The handler's module without its package: `decide` for `lambdas.handlers.decide.handler`."""
        return self.handler.split(".")[-2]


@dataclass(frozen=True)
class Outcome:
    """Result of an invocation; `error` is None or the kind of failure, as in the header X-Amz-Function-Error.

    `seconds` is the handler's time, without the wait for a free process, because AWS would start another one.
    """

    payload: bytes
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Place:
    """Surroundings of the functions: files, logs, clock, and credentials of their roles."""

    task_root: Path
    logs: Path
    clock_file: Path
    aws_url: str
    credentials: Callable[[str, str], Mapping[str, str]]
    most_processes: int = 2


class Function:
    """Invoke a handler in processes with its role's credentials, one event at a time in each process.

    If all are busy, more processes are started, as AWS would scale out, up to a small number.
    """

    def __init__(self, settings: Settings, place: Place, children: Children) -> None:
        self.settings = settings
        self._place = place
        self._children = children
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._count = 0
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(max_workers=8, thread_name_prefix=f"async-{settings.module}")
        self._stopping = threading.Event()

    def warm(self) -> None:
        """Start a first process, if there is none, and wait until it accepts events."""
        process = self._take()
        process.wait_ready()
        self._idle.put(process)

    def invoke(self, payload: bytes) -> Outcome:
        """Run the handler on `payload`; wait for a free process if all are busy."""
        process = self._take()
        outcome = process.run(payload)
        if process.alive:
            self._idle.put(process)
        else:
            with self._lock:
                self._count -= 1
            if outcome.error is not None and not self._stopping.is_set():
                log.warning("%s: its process ended", self.settings.module)
        if outcome.error is not None:
            log.warning("%s failed: %s", self.settings.module, outcome.payload.decode(errors="replace")[:2000])
        return outcome

    def invoke_later(self, payload: bytes, on_failure: Callable[[bytes, Outcome], None]) -> Future[Outcome | None]:
        """Invoke asynchronously: retry after a failure, and at last call `on_failure`."""
        return self._background.submit(self._try_repeatedly, payload, on_failure)

    def _try_repeatedly(self, payload: bytes, on_failure: Callable[[bytes, Outcome], None]) -> Outcome | None:
        outcome = None
        for attempt in range(self.settings.retries + 1):
            if attempt and self._stopping.wait(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS)) - 1]):
                return None
            outcome = self.invoke(payload)
            if outcome.error is None:
                return outcome
        if outcome is not None and not self._stopping.is_set():
            on_failure(payload, outcome)
        return outcome

    def stop(self) -> None:
        self._stopping.set()
        self._background.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> _Process:
        while True:
            try:
                process = self._idle.get_nowait()
            except queue.Empty:
                if self._stopping.is_set():
                    raise Ending(self.settings.module) from None
                with self._lock:
                    fresh = self._count < self._place.most_processes
                    self._count += fresh
                    number = self._count
                if fresh:
                    return self._start(number)
                try:
                    process = self._idle.get(timeout=0.5)  # a process may have died rather than come back
                except queue.Empty:
                    continue
            if process.alive:
                return process
            with self._lock:
                self._count -= 1

    def _start(self, number: int) -> _Process:
        try:
            return _Process(self.settings, self._place, self._children, number)
        except BaseException:
            with self._lock:
                self._count -= 1
            raise


class _Process:
    """One execution environment."""

    def __init__(self, settings: Settings, place: Place, children: Children, number: int) -> None:
        self._settings = settings
        self._api = RuntimeApi()
        self._children = children
        place.logs.mkdir(parents=True, exist_ok=True)
        credentials = place.credentials(settings.role_arn, settings.name)
        environment = plain_environment(
            **settings.environment,
            AWS_ENDPOINT_URL=place.aws_url,
            AWS_ACCESS_KEY_ID=credentials["aws_access_key_id"],
            AWS_SECRET_ACCESS_KEY=credentials["aws_secret_access_key"],
            AWS_SESSION_TOKEN=credentials["aws_session_token"],
            AWS_REGION=REGION,
            AWS_DEFAULT_REGION=REGION,
            AWS_LAMBDA_RUNTIME_API=self._api.address,
            AWS_LAMBDA_FUNCTION_NAME=settings.name,
            AWS_LAMBDA_FUNCTION_VERSION="$LATEST",
            AWS_LAMBDA_FUNCTION_MEMORY_SIZE=str(settings.memory_mb),
            AWS_LAMBDA_LOG_GROUP_NAME=f"/aws/lambda/{settings.name}",
            AWS_LAMBDA_LOG_STREAM_NAME=f"local/[$LATEST]{number}",
            AWS_EXECUTION_ENV="AWS_Lambda_python3.13",
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CONFIG_FILE="/dev/null",
            AWS_SHARED_CREDENTIALS_FILE="/dev/null",
            LAMBDA_TASK_ROOT=str(place.task_root),
            _HANDLER=settings.handler,
            PYTHONDONTWRITEBYTECODE="1",
            TZ=":UTC",
        )
        with (place.logs / f"{settings.module}.log").open("ab") as log_file:
            self._process = children.start(
                [sys.executable, str(_ENTRY), settings.handler, str(place.clock_file)],
                environment=environment,
                directory=place.task_root,
                log=log_file.fileno(),
            )
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._api.ready.wait(0.1) and self.alive and time.monotonic() < deadline:
            pass

    def run(self, payload: bytes) -> Outcome:
        invocation = Invocation(payload, self._settings.arn, self._settings.timeout_seconds)
        self._api.offer(invocation)
        while not invocation.done.wait(_LOOK_SECONDS):
            # A handler's time starts when it takes the event, so that the time of its import doesn't count.
            if not self.alive:
                reason = f"the process of {self._settings.handler} ended, {describe(self._process)}"
                invocation.finish(self._api.init_error or _error("Runtime.ExitError", reason), "Unhandled")
            elif invocation.began is not None and time.monotonic() - invocation.began > self._settings.timeout_seconds:
                self._children.stop(self._process, grace_seconds=0)
                reason = (
                    f"RequestId: {invocation.request_id} Error: Task timed out after "
                    f"{self._settings.timeout_seconds:.2f} seconds"
                )
                invocation.finish(_error("Sandbox.Timedout", reason), "Unhandled")
        return Outcome(invocation.answer, invocation.error, time.monotonic() - (invocation.began or time.monotonic()))

    def _watch(self) -> None:
        self._process.wait()
        self._children.stop(self._process, grace_seconds=0)
        self._api.close()


def _error(kind: str, message: str) -> bytes:
    body: dict[str, Any] = {"errorType": kind, "errorMessage": message}
    return json.dumps(body).encode()
