"""CPU cores of a batch's worker processes: each process is pinned to its share, and uses one thread a core."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

import torch

# Environment variable: 0 leaves the processes to the operating system.
PIN_CORES = "INFERENCE_PIN_CORES"
# The files with the CPU quota. Without a quota they contain "max" (cgroup v2) or -1 (v1):
# https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files, https://docs.kernel.org/scheduler/sched-bwc.html
QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))


def shares(cores: Collection[int], workers: int) -> list[frozenset[int]]:
    """Divide `cores` among `workers`, neighbouring cores together; empty if there are fewer cores than workers."""
    each, ordered = len(cores) // workers, sorted(cores)
    return [frozenset(ordered[place * each : (place + 1) * each]) for place in range(workers)] if each else []


def pin(number: int, workers: int, *, quotas: Iterable[Path] = QUOTAS) -> frozenset[int]:
    """Pin this process to its share of the cores.

    Nothing is pinned if the system doesn't support or refuses affinities, on a GPU, under a CPU quota (other containers
    may use the same cores), with fewer cores than workers, or if INFERENCE_PIN_CORES is 0.

    Args:
        number: the index of this process among the workers, from 0.
        workers: the number of worker processes.
        quotas: files with the quota of this container, if they exist.

    Returns:
        The cores, empty if nothing is pinned.
    """
    if not hasattr(os, "sched_setaffinity") or os.environ.get(PIN_CORES, "").strip() == "0":
        return frozenset()
    if torch.cuda.is_available() or any(map(_limited, quotas)):
        return frozenset()
    dealt = shares(os.sched_getaffinity(0), workers)
    if not dealt:
        return frozenset()
    try:
        os.sched_setaffinity(0, dealt[number])
    except OSError:
        # A sandbox refuses the call, or this container lost the cores in the meantime.
        return frozenset()
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(len(dealt[number]))
    return dealt[number]


def _limited(quota: Path) -> bool:
    try:
        return not quota.read_text().startswith(("max", "-1"))
    except OSError:
        return False
