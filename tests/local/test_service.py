"""A local service that ignores Ctrl-C is killed, after it wrote what its threads wait for."""

from __future__ import annotations

import io
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.service import LocalService, LocalServiceFailed


class Stuck:
    """A process that ended for its starter and ends by SIGKILL alone."""

    pid = 0

    def __init__(self, home: Path) -> None:
        self.stdout = io.StringIO("")
        self.given: list[object] = []
        self.home = home

    def poll(self) -> int:
        return 1

    def send_signal(self, number: int) -> None:
        self.given.append(number)
        if number == signal.SIGUSR1:
            (self.home / "stacks.log").write_text("waits for a lock")

    def kill(self) -> None:
        self.given.append(signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> int:
        if seconds is not None:
            raise subprocess.TimeoutExpired("local", seconds)
        return -9


def test_a_service_that_does_not_end_shows_its_threads_and_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stuck: Any = Stuck(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: stuck)
    with pytest.raises(LocalServiceFailed):
        LocalService(home=tmp_path).start()
    assert stuck.given == [signal.SIGINT, signal.SIGUSR1, signal.SIGKILL]
    assert "did not end:\nstacks.log: …waits for a lock" in capsys.readouterr().err
