"""Asynchronous copies between host and device, through pinned memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def onto(device: torch.device, tensor: Tensor) -> Tensor:
    """Copy `tensor` to `device`.

    The copy to a GPU is asynchronous, from pinned memory and in stream order. From pageable memory the CPU would make the
    copy, and wait for all earlier work of the GPU.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def fetched(tensor: Tensor) -> Callable[[], list[Any]]:
    """Start the copy of `tensor` to the host.

    Returns:
        A function that waits for the copy and returns the values; it doesn't wait for work queued on the GPU later.
    """
    if tensor.device.type != "cuda":
        return tensor.tolist
    there = tensor.to("cpu", non_blocking=True)  # into pinned memory
    arrived = torch.cuda.current_stream(tensor.device).record_event()

    def numbers() -> list[Any]:
        arrived.synchronize()
        return there.tolist()

    return numbers
