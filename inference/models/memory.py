"""Memory check before a model is loaded, because a process that the kernel kills reports no reason."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

import torch

from inference.errors import ModelBroken

# A larger header is damaged or forged; safetensors has the same limit.
_LONGEST_HEADER = 100 << 20
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check(folder: Path, *, bytes_each: int, gpus: int = 1) -> None:
    """Raise ModelBroken if the weights in `folder`, at `bytes_each` a number, exceed the device's free memory."""
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
    """Return the bytes that are free for weights, and the device's name."""
    if torch.cuda.is_available():
        free = sum(torch.cuda.mem_get_info(number)[0] for number in range(min(gpus, torch.cuda.device_count())))
        return free, "the GPU" if gpus == 1 else f"{gpus} GPUs together"
    return _main_memory(), "this machine"


def _main_memory() -> int:
    # Also a container's own limit; "max" if it has none.
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
    except (OSError, struct.error, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        # A damaged file; loading it reports the reason.
        return 0


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
