"""Servers for tests: the command in a process of its own, and the routes on a thread of this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from inference.serving import ModelHost
from inference.serving.app import App
from inference.serving.connections import Connection
from inference.serving.meter import Meter
from inference.serving.serve import host_of
from inference.serving.settings import Hosting
from inference.tasks.pipeline import Pipeline
from local.ports import Held


class Server:
    """`python -m inference serve` in a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._held = Held()
        self.port = self._held.number
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inference", "serve", "--host", "127.0.0.1"],
            env={**os.environ, "SAGEMAKER_BIND_TO_PORT": str(self.port), "SM_MODEL_DIR": str(folder), **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def wait_until_ready(self) -> list[int]:
        """Every status that /ping had on the way."""
        seen: list[int] = []
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                seen.append(self.client.get("/ping").status_code)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if seen[-1] == 200:
                return seen
            time.sleep(0.1)
        raise AssertionError(f"never ready: {self.stop()}")

    def stop(self) -> tuple[int, str]:
        """Exit code after SIGTERM, and what it said."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=120)
        self._held.close()
        return self.process.returncode, said


class Ready:
    """A model that is loaded, on a thread of its own."""

    def __init__(self, pipeline: Pipeline, hosting: Hosting, meter: Meter) -> None:
        self.pipeline: Pipeline | None = pipeline
        self.host: ModelHost | None = host_of(pipeline, hosting, meter)


@contextmanager
def serving(pipeline: Pipeline, hosting: Hosting | None = None) -> Iterator[tuple[str, Ready, Meter]]:
    """The routes over real sockets: their address, the model behind them, what they count."""
    hosting, meter = hosting or Hosting(), Meter()
    ready = Ready(pipeline, hosting, meter)
    assert ready.host is not None
    config = uvicorn.Config(
        App(ready, hosting, meter).routes(), http=Connection, host="127.0.0.1", port=0, log_level="warning",
        lifespan="off", ws="none", timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = uvicorn.Server(config)
    threads = [threading.Thread(target=ready.host.run, daemon=True), threading.Thread(target=server.run, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", ready, meter
    finally:
        server.should_exit = True
        threads[1].join(60)
        ready.host.stop()
        threads[0].join(60)


def until(holds: Callable[[], Any], seconds: float = 300) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)
