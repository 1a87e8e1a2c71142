"""Counts of a run's workers add up, and come into the score from sidecars and stamped lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from inference.records.counts import Counts, Latencies, Run, Totals
from inference.scoring.score import score
from tests.inference.test_scoring import lines, references


def worker(number: int, *, records: int, milliseconds: Sequence[float]) -> Run:
    latencies = Latencies()
    for value in milliseconds:
        latencies.add(value / 1_000)
    engine = {"name": "generate", "device": "cpu", "dtype": "float32", "peak_memory_bytes": number * 100}
    counts = Counts(
        records=records,
        tokens_in=10 * records,
        tokens_out=3 * records,
        truncated=number,
        latencies=latencies,
        engine=engine,
    )
    return Run(f"host:{number}", 100.0 + number, 110.0 + number, counts)


def test_workers_counts_add_up_exactly() -> None:
    times = np.random.default_rng(0).lognormal(3, 1, 300).tolist()
    together = worker(0, records=300, milliseconds=times)
    parts = [worker(n, records=100, milliseconds=times[n * 100 : n * 100 + 100]) for n in range(3)]

    totals = Totals.of([Run.of_json(json.loads(json.dumps(part.as_json()))) for part in parts])

    assert totals.counts.records == 300
    assert totals.counts.tokens_in == 3000
    assert totals.counts.truncated == 3
    assert totals.counts.latencies == together.counts.latencies
    assert totals.wall_seconds == pytest.approx(12.0)
    assert totals.counts.engine["peak_memory_bytes"] == 200
    for percent in (50, 95, 99):
        exact = np.percentile(times, percent, method="inverted_cdf")
        assert totals.counts.latencies.percentile_ms(percent) == pytest.approx(exact, rel=0.011)


def test_workers_with_different_engines_are_all_named() -> None:
    plain, both, half = (worker(n, records=1, milliseconds=[1]) for n in range(3))
    both.counts.engine["name"] = "encoder-decoder+generate"
    half.counts.engine["dtype"] = "bfloat16"

    totals = [Totals.of(order).counts.engine for order in ((plain, both, half), (half, both, plain))]

    assert totals[0] == totals[1]
    assert totals[0]["name"] == "encoder-decoder+generate"
    assert (totals[0]["dtype"], totals[0]["device"], totals[0]["peak_memory_bytes"]) == ("bfloat16+float32", "cpu", 200)


def test_counts_come_from_sidecars_and_from_stamps_alike(tmp_path: Path) -> None:
    run = worker(1, records=1, milliseconds=[5]).as_json()
    lines(tmp_path / "o" / "a.out", [{"id": 0, "generated_texts": ["a"]}])
    (tmp_path / "o" / "a.out.run.json").write_text(json.dumps(run))
    lines(tmp_path / "o" / "b.out", [{"id": 1, "generated_texts": ["a"], "run": {**run, "worker": "host:2"}}])

    found = score(tmp_path / "o", references(tmp_path / "r", ["a", "a"]), tmp_path / "s")

    assert found["counts"]["tokens_out"] == 6
    assert found["engine"]["workers"] == 2
    assert found["throughput"]["records_per_s"] == 0.2
    assert found["latency_ms"]["p50"] == pytest.approx(5, rel=0.011)
    assert found["pictures"] == ["metrics.png", "latency.png"]
    assert set(found["alternatives"]) == set(found["pictures"])
