"""Worker processes of a batch are pinned to cores of their own, unless something speaks against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from inference.batch.cores import PIN_CORES, shares
from inference.batch.transform import Settings, Transform
from inference.tasks.pipeline import Pipeline
from tests.inference.conftest import Make
from tests.inference.samples import sentences

SCRIPT = """
import json, os, sys
import torch
from pathlib import Path
from inference.batch.cores import pin
pinned = pin(int(sys.argv[1]), int(sys.argv[2]), quotas=[Path("none"), Path(sys.argv[3])])
print(json.dumps([sorted(pinned), sorted(os.sched_getaffinity(0)), torch.get_num_threads()]))
"""
# As a sandbox refuses it, or a cpuset that shrank since the cores were read; and as macOS has it.
REFUSES = "import os\ndef refuse(*_): raise OSError(22, 'refused')\nos.sched_setaffinity = refuse"
LACKS = "import os\ndel os.sched_setaffinity"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

# These deal the cores of this machine out, which needs an affinity to set; one core is dealt out to one worker.
dealing = pytest.mark.skipif(not CORES, reason="this system has no affinities (macOS)")


def pinned(
    number: int, workers: int, quota: Path, before: str = "", **environment: str
) -> tuple[list[int], list[int], int]:
    """The cores that a new process is pinned to, those that it has then, and its threads."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", before + SCRIPT, str(number), str(workers), str(quota)]
    found = subprocess.run(command, env={**clean, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    cores, allowed, threads = json.loads(found.stdout)
    return cores, allowed, threads


@given(cores=some.sets(some.integers(0, 500), min_size=1, max_size=40), workers=some.integers(1, 50))
def test_no_core_is_dealt_out_twice_and_shares_are_equal(cores: set[int], workers: int) -> None:
    dealt = shares(cores, workers)

    assert len(dealt) in (0, workers)
    assert bool(dealt) == (len(cores) >= workers)
    assert (
        len({core for share in dealt for core in share}) == sum(map(len, dealt)) == len(dealt) * (len(cores) // workers)
    )


@dealing
def test_a_process_has_its_core_and_one_thread(tmp_path: Path) -> None:
    last = CORES[-1:]
    assert pinned(len(CORES) - 1, len(CORES), tmp_path / "none") == (last, last, 1)


@dealing
def test_the_variable_of_openmp_keeps_its_say_on_threads(tmp_path: Path) -> None:
    assert pinned(0, len(CORES), tmp_path / "none", OMP_NUM_THREADS="2")[2] == 2


@dealing
@pytest.mark.parametrize("why", ["setting", "quota", "quota of cgroup v1", "workers", "refusal", "system"])
def test_nothing_is_pinned(why: str, tmp_path: Path) -> None:
    quota, environment, workers = tmp_path / "cpu.max", {}, len(CORES)
    quota.write_text({"quota": "150000 100000\n", "quota of cgroup v1": "150000\n"}.get(why, "max 100000\n"))
    before = {"refusal": REFUSES, "system": LACKS}.get(why, "")
    if why == "setting":
        environment[PIN_CORES] = "0"
    if why == "workers":
        workers += 1

    assert pinned(0, workers, quota, before, **environment)[:2] == ([], CORES)


@dealing
def test_a_group_without_a_quota_under_cgroup_v1_is_pinned(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.cfs_quota_us"
    quota.write_text("-1\n")
    assert pinned(0, len(CORES), quota)[0] == CORES[:1]


class Told:
    """Make a pipeline, and write down the cores of the process that it is made in."""

    def __init__(self, make: Make, folder: Path) -> None:
        self._make, self._folder = make, folder

    def __call__(self) -> Pipeline:
        (self._folder / f"{os.getpid()}.json").write_text(json.dumps(sorted(os.sched_getaffinity(0))))
        return self._make()


@pytest.mark.skipif(len(CORES) < 2, reason="two workers are not pinned to one core")
def test_two_workers_of_a_batch_share_no_core(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    source.write_text("".join(json.dumps({"text_inputs": text}) + "\n" for text in sentences(6, longest=8)))
    (tmp_path / "told").mkdir()
    settings = Settings(batch_strategy="SingleRecord", max_concurrent_transforms=2)

    with Transform(Told(make, tmp_path / "told"), settings, identity={}) as transform:
        transform.file(source, tmp_path / "input.jsonl.out", quiet=True)

    one, other = (set(json.loads(path.read_bytes())) for path in (tmp_path / "told").iterdir())
    assert one.isdisjoint(other)
    assert one | other <= set(CORES)
