"""Measure a deployment: the time of a synth, size and import time of functions, and a warm function's own time.

Writes build/bench/deploy.json and docs/benchmarks/deploy.md: `synth_s`; `bundle_mb`; `cold_import_ratio`, a function's import
against boto3's alone, each in a fresh interpreter that sees the bundle alone, taken in turns; `handler_ms`, the
median of a warm call in this process, less that in which AWS was asked. Both are processor time, so that a busy machine changes
neither much; bytecode lies ready for both sides of the ratio. benchmarks/acceptance.py adds: `variants`, `lint_errors`,
`unexplained_findings`, `accept_steps`, `accept_passed` and `assumptions`.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from botocore.exceptions import ClientError

from benchmarks import acceptance, cost, tables
from infra import bundle
from infra.functions import SIZES
from promotion import names
from tests.fakes import ANN, CHO, CONFIG_TEXT, GROUP
from tests.faults import simulation as simulations
from tests.faults.simulation import Simulation, simulation

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench" / "deploy.json"
PAGE = ROOT / "docs" / "benchmarks" / "deploy.md"
CONFIG = ROOT / "tests" / "infra" / "promotion.toml"
ROUNDS, LONG_ROUNDS = 5, 25
MOST_MB = 60
FUNCTION_HEADS = ("function", "cold import ÷ boto3's", "warm, ms")
# Deployed where endpoints are configured.
ENDPOINTS = ("on_live_changed",)
VERSIONS = 4


def main(*, long: bool = False) -> dict[str, Any]:
    """All figures; `long` takes more rounds."""
    twin = bundle.build(ROOT, CONFIG, for_host=True)
    rounds = LONG_ROUNDS if long else ROUNDS
    figures = {
        "synth_s": synth(),
        "bundle_mb": round(weight(bundle.build(ROOT, CONFIG)) / 1e6, 1),
        "cold_import_ratio": imports(twin, rounds),
        "uncompiled_import_ratio": uncompiled(twin, rounds),
        "handler_ms": handlers(),
        **acceptance.figures(),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(figures), encoding="utf-8")
    return figures


def page(f: dict[str, Any]) -> str:
    """docs/benchmarks/deploy.md."""
    slowest, bare = max(f["cold_import_ratio"].values()), max(f["uncompiled_import_ratio"].values())
    # Once a day it goes over all that there is.
    busiest = max(ms for module, ms in f["handler_ms"].items() if module != "verify")
    functions = [
        (f"`{module}`", f"{f['cold_import_ratio'].get(module, '')}", f"{f['handler_ms'].get(module, '')}")
        for module in sorted({*f["cold_import_ratio"], *f["handler_ms"]})
    ]
    rows = [
        ("The template of four environments, `app.py` alone", f"{f['synth_s']} s", "at most 20 s"),
        ("A function's bundle, unpacked, boto3 included", f"{f['bundle_mb']} MB", f"at most {MOST_MB} MB"),
        ("A function's cold import against boto3's alone, the slowest", f"{slowest}", "at most 2"),
        ("The same without bytecode, as the bundle is uploaded", f"{bare}", ""),
        ("A warm function's own time, AWS calls taken out, the busiest", f"{busiest} ms", "at most 5 ms"),
        *acceptance.rows(f),
    ]
    return (
        "# Deploying\n\nWritten by `python -m benchmarks deploy`.\n\n"
        f"{tables.table(rows, tables.HEADS[:3])}\n\n"
        "Times are processor time. A bundle holds no bytecode: this machine's Python writes another's than Lambda's, and Lambda "
        "can keep none,\nso that it compiles at every cold start.\n\n"
        "Making clients counts as a function's own time, and so does composing mails: `on_projection_due` brings five targets "
        "past all that has\nhappened since it last ran, three events a decision. `verify` is not among them: once a day it reads "
        f"the whole ledger, here\n{VERSIONS} versions of one group, and its time grows with it.\n\n"
        f"{tables.table(functions, FUNCTION_HEADS)}\n\n"
        f"{tables.machine(f)}\n"
    )


def synth() -> float:
    """Seconds that `app.py` takes to write the template, checks and all; the bundle is built beforehand."""
    bundle.build(ROOT, CONFIG)
    with tempfile.TemporaryDirectory() as out:
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={**os.environ, "PROMOTION_CONFIG": str(CONFIG), "CDK_OUTDIR": out},
            check=True,
            capture_output=True,
        )
        return round(time.monotonic() - begun, 1)


def weight(folder: Path) -> int:
    """Bytes of all files below a folder, compiled ones left out."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def imports(twin: Path, rounds: int, *options: str) -> dict[str, float]:
    """Median of each function's import against that of boto3 alone, in turns."""
    statements = {
        "boto3": "import boto3",
        **{module: f"import lambdas.handlers.{module}" for module in (*SIZES, *ENDPOINTS)},
    }
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for name, statement in statements.items():
            seconds = _import_s(twin, statement, *options)
            # The first turn compiles.
            if turn:
                taken[name].append(seconds)
    boto3 = statistics.median(taken.pop("boto3"))
    return {name: round(statistics.median(seconds) / boto3, 2) for name, seconds in taken.items()}


def uncompiled(twin: Path, rounds: int) -> dict[str, float]:
    """Measure it as the bundle is uploaded: without bytecode, and without a place for any."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "code"
        shutil.copytree(twin, bare, ignore=shutil.ignore_patterns("__pycache__"))
        return imports(bare, max(2, rounds // 3), "-B")


def _import_s(twin: Path, statement: str, *options: str) -> float:
    script = (
        f"import sys, time; sys.path.insert(0, {str(twin)!r}); t = time.process_time(); {statement}; "
        "print(time.process_time() - t)"
    )
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_SERVICE_NAME": "promotion"}
    found = subprocess.run(
        [sys.executable, "-I", "-S", *options, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return float(found.stdout)


class Watch:
    """Times functions from their call to their end, and takes out what passes while AWS, or another function, is asked."""

    def __init__(self) -> None:
        self.own_s: defaultdict[str, list[float]] = defaultdict(list)
        self._asked: list[float] = []

    def timed(self, module: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        def run(event: dict[str, Any], context: Any) -> Any:
            self._asked.append(0.0)
            begun = time.thread_time()
            try:
                return handler(event, context)
            finally:
                self.own_s[module].append(time.thread_time() - begun - self._asked.pop())

        return run

    def asks(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            begun = time.thread_time()
            try:
                return original(*given, **named)
            finally:
                if self._asked:
                    self._asked[-1] += time.thread_time() - begun

        return call

    def handlers_ms(self) -> dict[str, float]:
        """Return medians of warm calls: the first call of each is left out."""
        return {
            module: round(1000 * statistics.median(taken[1:] or taken), 2)
            for module, taken in sorted(self.own_s.items())
        }


def handlers() -> dict[str, float]:
    """Milliseconds of a warm function's own, by module, over the journeys of a few versions.

    Making a client, and hashing an artifact of a few hundred bytes, count as the function's own.
    """
    os.environ.update(cost.FAKE_ACCOUNT)
    watch = Watch()
    os.environ[names.EXECUTION_ROLES] = json.dumps({"dev": "arn:aws:iam::123456789012:role/execution"})
    four = CONFIG_TEXT.replace('[[environments]]\nname = "prod"', cost.UAT + '[[environments]]\nname = "prod"')
    four += '\n[advanced.environments.dev.endpoint]\ninstance_type = "ml.m5.xlarge"\n'
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(simulations, "CONFIG_TEXT", four),
        simulation(Path(folder)) as service,
        _watched(service, watch),
    ):
        for version in range(1, VERSIONS + 1):
            service.register()
            service.settle()
            for name in cost.ENVIRONMENTS:
                cost._look(service, version, name)
                for person in (ANN, CHO)[: 2 if name == "prod" else 1]:
                    assert service.decide(version, name, person) == 303
                service.settle()
                cost._run(service, name)
                service.measure(version, name)
                service.settle()
            service.sweep()
            simulations.function("verify")({}, None)
        for _ in range(VERSIONS):
            for module, event in _others(service):
                # There is no such job: that it is asked for is what counts.
                with suppress(ClientError):
                    simulations.function(module)(event, None)
    return watch.handlers_ms()


def _others(service: Simulation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Functions that no journey above wakes, with events that they look at and let be."""
    job = {"ProcessingJobName": "m", "ProcessingJobStatus": "Completed", "ProcessingJobArn": "arn:aws:sagemaker:::m"}
    yield "on_monitoring_completed", {"detail": job}
    told = {"model_package_group": GROUP, "sequence": 1, "event_id": "x"}
    yield "on_event_published", {"channel": "chat", "detail": told}
    yield "on_drift_detected", {"detail": told}
    yield "on_live_changed", {"detail": {"model_package_group": GROUP, "environment": "dev"}}


@contextmanager
def _watched(service: Simulation, watch: Watch) -> Iterator[None]:
    from lambdas.handlers import decide, prepare_inference, web

    found = simulations.function
    with (
        mock.patch.object(simulations, "function", lambda module: watch.timed(module, found(module))),
        mock.patch.object(service, "call", watch.asks(service.call)),
        mock.patch.object(decide, "handler", watch.timed("decide", decide.handler)),
        mock.patch.object(web, "handler", watch.timed("web", web.handler)),
        mock.patch.object(prepare_inference, "handler", watch.timed("prepare_inference", prepare_inference.handler)),
    ):
        yield


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
