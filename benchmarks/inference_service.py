"""Measure the parts around an engine: the time until a server is ready, and the engine's share of a batch's time."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inference.batch.transform import Settings, Transform
from inference.engines import Arrivals, Description, Generated, Prompt, TextEngine
from inference.engines.encoder_decoder import text_engine
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from inference.tasks.tasks import TextToText

MOST_SECONDS = 300


def ready(folder: Path) -> dict[str, float]:
    """Seconds by the clock, and of CPU, from a server's start to the first 200 of /ping."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "inference",
        "serve",
        "--unverified",
        "--port",
        str(port),
        "--model-dir",
        str(folder),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port):
            if server.poll() is not None or time.perf_counter() - began > MOST_SECONDS:
                raise RuntimeError("the server does not start")
            time.sleep(0.05)
        passed = time.perf_counter() - began
    finally:
        server.terminate()
        server.wait(60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"ready_s": round(passed, 1), "ready_cpu_s": round(spent, 1)}


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Clocked:
    """An engine, and the CPU seconds of its thread in its calls."""

    def __init__(self, engine: TextEngine) -> None:
        self._engine, self.joins, self.seconds = engine, engine.joins, 0.0

    @property
    def description(self) -> Description:
        """The engine's description."""
        return self._engine.description

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Yield what the engine yields."""
        found = self._engine.generate(prompts, arrivals)
        while True:
            begun = time.thread_time()
            one = next(found, None)
            self.seconds += time.thread_time() - begun
            if one is None:
                return
            yield one


def engine_share(folder: Path, lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The engine's share of a batch's CPU time, and of its time by the clock, in one process."""
    loaded = load(folder)
    engine = Clocked(text_engine(loaded.model))
    source = folder / "lines.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Transform(lambda: Pipeline(TextToText(loaded, engine)), Settings(), identity={}) as transform:
        spent, passed = time.process_time(), time.perf_counter()
        transform.file(source, folder / "lines.jsonl.out", quiet=True)
        spent, passed = time.process_time() - spent, time.perf_counter() - passed
    return {
        "lines": len(lines),
        "engine_share": round(engine.seconds / spent, 3),
        "engine_share_of_wall": round(engine.seconds / passed, 3),
        "load_average": round(os.getloadavg()[0], 1),
    }
