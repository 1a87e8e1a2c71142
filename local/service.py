"""The local service for tests and the demo, started as a separate process with its own ports.

with LocalService(template_edit=without_the_rule) as service:
    service.session().client("sagemaker").create_model_package(...)
    service.wait_for(lambda: service.mailbox())
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import boto3

from local import ADMINISTRATOR_KEY, ADMINISTRATOR_SECRET, REGION, synth
from local.config_overrides import in_effect, write
from local.ports import Held, Ports
from local.waiting import pause_after
from local.welcome import environment

ROOT = Path(__file__).resolve().parent.parent
Template = dict[str, Any]
T = TypeVar("T")
# Long time limits, because a busy machine may need ten times as long as an idle one; they cost nothing if all is well.
_START_SECONDS = 600.0
_STOP_SECONDS = 120.0
_STACKS_SECONDS = 2
_ANSWER_SECONDS = 60.0


class LocalServiceFailed(Exception):
    """The local service did not start; has its output."""


class LocalService:
    """A running local service. `advance_clock` moves its time forward; its state ends with it."""

    def __init__(
        self,
        *,
        ports: Ports | None = None,
        config: Path | None = None,
        template_edit: Callable[[Template], Template | None] | None = None,
        inference: bool = True,
        home: Path | None = None,
    ) -> None:
        """Make a service; `template_edit` may change the synthesized template, in place or by returning another."""
        self._held = Held(0 if ports else 3)
        self.ports = ports or Ports(*self._held.numbers)
        self._config = in_effect(config).resolve()
        self._edit = template_edit
        self._inference = inference
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if home is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="local-")
            home = Path(self._scratch.name)
        self.home = home
        self._process: subprocess.Popen[str] | None = None
        self._output: list[str] = []
        self._roles: dict[str, BoundSession] = {}

    @property
    def url(self) -> str:
        return self.ports.http_url

    @property
    def aws_url(self) -> str:
        return self.ports.aws_url

    @property
    def idp_url(self) -> str:
        return self.ports.idp_url

    @property
    def process_id(self) -> int | None:
        """The id of the service's process, while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def output(self) -> str:
        """Output so far."""
        return "".join(self._output)

    def start(self) -> Self:
        """Start the service, and return once /healthz answers 200.

        Raises:
            LocalServiceFailed: the process ended, or was not healthy in time; the message has its output.
        """
        try:
            self._process = self._launch()
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
            self.wait_for(self._is_up, seconds=_START_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self) -> subprocess.Popen[str]:
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "local", "--private", "--home", str(self.home), "--config", str(self._config)]
        if self._edit is not None:
            plain = self.home / "synth.toml"
            write(self._config, plain, issuer=Ports().idp_url)
            template = synth.template(plain)
            edited = self._edit(template) or template
            (self.home / "template.json").write_text(json.dumps(edited))
            command += ["--template", str(self.home / "template.json")]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **self.ports.environment(), "LOCAL_INFERENCE": "1" if self._inference else "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def stop(self) -> None:
        """End the service as Ctrl-C would; return when its ports are free."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # It writes the stacks of its threads, which show what it waits for.
                self._process.send_signal(signal.SIGUSR1)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_STACKS_SECONDS)
                print(f"The local service did not end:\n{self._last_lines()}", file=sys.stderr)
                self._process.kill()
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
        self._held.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def wait(self) -> int:
        """Wait until its process has ended; return the exit code."""
        assert self._process is not None
        return self._process.wait(_STOP_SECONDS)

    def kill(self) -> None:
        """Kill the process as `kill -9` would, without clean-up."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.wait()
        self._held.close()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def session(self, credentials: Mapping[str, str] | None = None) -> BoundSession:
        """Return a boto3 session for this service: as the administrator, or with `credentials` from STS."""
        return BoundSession(self.aws_url, credentials)

    def role_session(self, function: str) -> BoundSession:
        """Return a session with the permissions of the role of the function `lambdas.<function>`."""
        if function not in self._roles:
            functions = self.session().client("lambda").list_functions()["Functions"]
            role = next(each["Role"] for each in functions if each["Handler"] == f"lambdas.handlers.{function}.handler")
            credentials = self.session().client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
            self._roles[function] = self.session(credentials)
        return self._roles[function]

    def environment(self) -> dict[str, str]:
        """Return environment variables for a subprocess, such as the promotion command, that uses this service."""
        return environment(self.ports, self.home)

    def mailbox(self) -> list[dict[str, Any]]:
        """Return every mail so far, newest first."""
        mails: list[dict[str, Any]] = self._local("mailbox.json")
        return mails

    def advance_clock(self, seconds: float) -> float:
        """Move the local time forward; return how many seconds it is ahead of real time."""
        answer = self._local("clock", {"advance_seconds": seconds})
        return float(answer["offset_seconds"])

    def wait_for(self, condition: Callable[[], T], *, seconds: float = 300.0) -> T:
        """Call `condition` until it returns a true value, and return that.

        Raises:
            TimeoutError: the value was false until the time limit.
            LocalServiceFailed: the service ended.
        """
        began = time.monotonic()
        while not (value := condition()):
            waited = time.monotonic() - began
            if self._process is not None and self._process.poll() is not None:
                raise LocalServiceFailed(f"The local service ended:\n{self.output}")
            if waited > seconds:
                raise TimeoutError(f"Not within {seconds:.0f} s.\n{self.output[-2000:]}\n{self._last_lines()}")
            time.sleep(pause_after(waited))
        return value

    def logs(self, function: str = "*") -> str:
        """Return the logs of all functions, or of `lambdas.<function>`."""
        return "".join(
            path.read_text(errors="replace") for path in sorted((self.home / "logs").glob(f"{function}.log"))
        )

    def _last_lines(self) -> str:
        """Return the end of each log: of the service, of its functions, and of its threads' stacks if they were written."""
        logs = [*sorted(self.home.glob("*.log")), *sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(f"{path.name}: …{path.read_text(errors='replace')[-1000:]}" for path in logs)

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 our own address
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _local(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/_local/{path}", data=data)  # noqa: S310 our own address
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            return json.load(answer)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                self._output.append(line)


class BoundSession:
    """boto3 clients of one service and one identity."""

    # Shared, because most of a session's cost is reading AWS's service models.
    _shared = boto3.Session(region_name=REGION)
    _making = threading.Lock()

    def __init__(self, aws_url: str, credentials: Mapping[str, str] | None = None) -> None:
        self._url = aws_url
        given = credentials or {}
        self.credentials = {
            "aws_access_key_id": given.get("AccessKeyId", ADMINISTRATOR_KEY),
            "aws_secret_access_key": given.get("SecretAccessKey", ADMINISTRATOR_SECRET),
            "aws_session_token": given.get("SessionToken"),
        }

    def client(self, service: str, **options: Any) -> Any:
        """Return a boto3 client; `options` are boto3's own."""
        with self._making:
            make: Callable[..., Any] = self._shared.client
            return make(service, endpoint_url=self._url, **{**self.credentials, **options})
