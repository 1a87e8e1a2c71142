"""Measure the hashing of an artifact against common programs.

`hashing_ratio`: the process's own time for an archive of 256 MiB in 64 members, divided by that of `sha256sum FILE` plus
`tar -xzOf FILE | sha256sum`; the worse of noise and zeros. `hashing_ms_per_member`: the same time a member for empty members, the
worse of 20,000 and 200,000. `hashing_peak_mb`: the most memory above the process before it starts, of all of these.
"""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MEMBERS, MEMBER_BYTES = 64, 4 << 20
MANY = (20_000, 200_000)
# In a process of its own, so that nothing else is in its memory.
_HASH = """
import resource, sys
from promotion.client.artifact import hash_artifact
def now(): return resource.getrusage(resource.RUSAGE_SELF)
before = now()
with open(sys.argv[1], "rb") as file:
    hash_artifact(file)
after = now()
used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(used, (after.ru_maxrss - before.ru_maxrss) / 1024)
"""


def figures() -> dict[str, Any]:
    """All three figures."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.tar.gz"
        ratios, each, peaks = [], [], []
        for content in (lambda: os.urandom(MEMBER_BYTES), lambda: bytes(MEMBER_BYTES)):
            _write(place, MEMBERS, content)
            used, peak = _hashed(place)
            ratios.append(used / _by_programs(place))
            peaks.append(peak)
        for members in MANY:
            _write(place, members, bytes)
            used, peak = _hashed(place)
            each.append(used * 1000 / members)
            peaks.append(peak)
    return {
        "hashing_ratio": round(max(ratios), 2),
        "hashing_ms_per_member": round(max(each), 3),
        "hashing_peak_mb": round(max(peaks), 1),
    }


def _write(place: Path, members: int, content: Callable[[], bytes]) -> None:
    with gzip.open(place, "wb", compresslevel=6) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for number in range(members):
            data = content()
            info = tarfile.TarInfo(f"part-{number // 1000:03}/{number:06}.bin")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _hashed(place: Path) -> tuple[float, float]:
    """Return the seconds of the process's own time, and its growth in MiB."""
    found = subprocess.run([sys.executable, "-c", _HASH, str(place)], capture_output=True, text=True, check=True)
    used, peak = map(float, found.stdout.split())
    return used, peak


def _by_programs(place: Path) -> float:
    """Seconds of their own time that sha256sum and tar need for the same."""
    commands: Sequence[str] = (f"sha256sum {place}", f"tar -xzOf {place} | sha256sum")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(["sh", "-c", command], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
