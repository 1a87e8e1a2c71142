"""Memory check before a model is loaded; a process killed by the kernel reports no reason."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

import torch

from inference.errors import ModelBroken

# Above this a header is damaged, or made up; safetensors has the same limit.
_LONGEST_HEADER = 100 << 20
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check(folder: Path, *, bytes_each: int, gpus: int = 1) -> None:
    """Raises ModelBroken where the weights in `folder`, at `bytes_each` a number, exceed what the device has free."""
    wanted = numbers_in(folder) * bytes_each
    free, device = available(gpus)
    if wanted > free:
        raise ModelBroken(
            f"The model is too large for its device: its weights take {_gib(wanted)}, and {device} has {_gib(free)} free. "
            "Take a larger instance, or spread it over several GPUs with SM_NUM_GPUS."
        )


def numbers_in(folder: Path) -> int:
    """Return the number of parameters in the safetensors files of `folder`, from their headers."""
    return sum(_numbers(path) for path in folder.glob("*.safetensors"))


def available(gpus: int) -> tuple[int, str]:
    """Bytes free for weights, and where."""
    if torch.cuda.is_available():
        free = sum(torch.cuda.mem_get_info(number)[0] for number in range(min(gpus, torch.cuda.device_count())))
        return free, "the GPU" if gpus == 1 else f"{gpus} GPUs together"
    return _main_memory(), "this machine"


def _main_memory() -> int:
    # A container's own limit besides; "max" where it has none.
    texts = [path.read_text().strip() for path in _CGROUP if path.exists()]
    limits = [_meminfo("MemAvailable:"), *(int(text) for text in texts if text.isdecimal())]
    return min((limit for limit in limits if limit), default=1 << 62)


def _meminfo(name: str) -> int:
    path = Path("/proc/meminfo")
    rest = path.read_text().partition(name)[2] if path.exists() else ""
    return int(rest.split()[0]) * 1_024 if rest else 0


def _numbers(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            [length] = struct.unpack("<Q", stream.read(8))
            if length > _LONGEST_HEADER:
                return 0
            header = json.loads(stream.read(length))
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        return sum(prod(tensor["shape"]) for tensor in tensors)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        # Damaged: loading it says what is wrong.
        return 0


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
