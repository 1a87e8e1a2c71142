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
from functools import partial
from pathlib import Path
from typing import Any

from inference.batch.transform import MOST_LINES, Settings, Transform
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
    """An engine, and the CPU seconds of its thread in its calls; after each call a file of this process has them."""

    def __init__(self, engine: TextEngine, folder: Path) -> None:
        self._engine, self.joins, self._folder, self._seconds = engine, engine.joins, folder, 0.0

    @property
    def description(self) -> Description:
        """The engine's description."""
        return self._engine.description

    def generate(self, prompts: Sequence[Prompt], arrivals: Arrivals | None = None) -> Iterator[tuple[int, Generated]]:
        """Yield the engine's results."""
        found = self._engine.generate(prompts, arrivals)
        while True:
            begun = time.thread_time()
            one = next(found, None)
            self._seconds += time.thread_time() - begun
            if one is None:
                break
            yield one
        spent = {"engine": self._seconds, "process": time.process_time()}
        (self._folder / f"{os.getpid()}.seconds").write_text(json.dumps(spent))


def clocked(folder: Path) -> Pipeline:
    """A pipeline whose engine's time is counted."""
    loaded = load(folder)
    return Pipeline(TextToText(loaded, Clocked(text_engine(loaded.model), folder)))


def engine_share(folder: Path, lines: Sequence[dict[str, Any]], processes: int = 1) -> dict[str, float]:
    """Measure the engine's share of a batch.

    Args:
        folder: the model's folder, which the input and output are written to as well.
        lines: records of the batch.
        processes: worker processes, each pinned to cores of its own.

    Returns:
        `engine_share`, CPU time in the engine's calls over time by the clock and processes, and `engine_share_of_cpu`.
    """
    settings = Settings(max_concurrent_transforms=processes)
    source, first = folder / "lines.jsonl", folder / "first.jsonl"
    written = [json.dumps(line) + "\n" for line in lines]
    source.write_text("".join(written))
    # A payload for each process; equal lines are computed once.
    first.write_text("".join(written[:1]) * (processes * MOST_LINES))
    with Transform(partial(clocked, folder), settings, identity={}) as transform:
        # The clock runs once every process has opened the model and answered.
        began, tries = time.perf_counter(), 0
        while len(list(folder.glob("*.seconds"))) < processes:
            if time.perf_counter() - began > MOST_SECONDS:
                raise RuntimeError("a worker process does not start")
            transform.file(first, folder / f"first-{tries}.out", quiet=True)
            tries += 1
        before, passed = _spent(folder), time.perf_counter()
        transform.file(source, folder / "lines.jsonl.out", quiet=True)
        passed, after = time.perf_counter() - passed, _spent(folder)
    engine = after["engine"] - before["engine"]
    return {
        "lines": len(lines),
        "processes": processes,
        "engine_share": round(engine / (passed * processes), 3),
        "engine_share_of_cpu": round(engine / (after["process"] - before["process"]), 3),
        "lines_per_s": round(len(lines) / passed, 1),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _spent(folder: Path) -> dict[str, float]:
    """Return the CPU seconds of all processes so far, in the engine and in all."""
    found = [json.loads(path.read_bytes()) for path in folder.glob("*.seconds")]
    return {name: sum(one[name] for one in found) for name in ("engine", "process")}
