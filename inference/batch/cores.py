"""CPU cores of a batch's worker processes: each process is pinned to its share, and computes with as many threads."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import torch

# Environment variable: 0 leaves the processes to the operating system.
PIN_CORES = "INFERENCE_PIN_CORES"
# https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files: "max", or a limit in place of certain cores.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def shares(cores: Collection[int], workers: int) -> list[frozenset[int]]:
    """Deal `cores` out to `workers`, neighbours together; without a result if there are fewer cores than workers."""
    each, ordered = len(cores) // workers, sorted(cores)
    return [frozenset(ordered[place * each : (place + 1) * each]) for place in range(workers)] if each else []


def pin(number: int, workers: int, *, cpu_max: Path = CPU_MAX) -> frozenset[int]:
    """Pin this process to its share of the cores.

    Nothing is pinned on a system without affinities, on a GPU, under a CPU quota (the cores may be those of other
    containers too), with fewer cores than workers, or if INFERENCE_PIN_CORES is 0.

    Args:
        number: the place of this process among the workers, from 0.
        workers: the number of worker processes.
        cpu_max: the file with the quota of this container.

    Returns:
        The cores, empty if nothing is pinned.
    """
    if not hasattr(os, "sched_setaffinity") or os.environ.get(PIN_CORES, "").strip() == "0":
        return frozenset()
    if torch.cuda.is_available() or _limited(cpu_max):
        return frozenset()
    dealt = shares(os.sched_getaffinity(0), workers)
    if not dealt:
        return frozenset()
    os.sched_setaffinity(0, dealt[number])
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(len(dealt[number]))
    return dealt[number]


def _limited(cpu_max: Path) -> bool:
    try:
        return not cpu_max.read_text().startswith("max")
    except OSError:
        return False
