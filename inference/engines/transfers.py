"""Numbers on their way to a device and back, so that nobody waits who need not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def onto(device: torch.device, tensor: Tensor) -> Tensor:
    """`tensor` on `device`.

    A GPU fetches it from memory that the system may not move, after all that it was asked for before; from other memory
    the processor would bring it, and wait until all of that is done.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def fetched(tensor: Tensor) -> Callable[[], list[Any]]:
    """What says the numbers of `tensor`. They set out at once, so that whoever asks does not wait for what a GPU does after."""
    if tensor.device.type != "cuda":
        return tensor.tolist
    there = tensor.to("cpu", non_blocking=True)  # in memory that the system may not move
    arrived = torch.cuda.current_stream(tensor.device).record_event()

    def numbers() -> list[Any]:
        arrived.synchronize()
        return there.tolist()

    return numbers
