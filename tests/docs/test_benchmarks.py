"""`make bench` runs every benchmark that there is, and nothing else."""

from __future__ import annotations

from benchmarks.__main__ import found

PARTS = ["approver", "control", "cost", "deploy", "evidence", "inference", "loop", "realtime", "serving"]


def test_every_benchmark_is_found() -> None:
    assert found() == PARTS
