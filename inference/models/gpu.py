"""Refusal to start if torch doesn't see the machine's GPU, which would be paid for but silently unused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from inference.models.cuda_compat import NATIVE_DRIVER, driver_version
from promotion.errors import PromotionError

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DEVICES = Path("/dev")


class GpuUnseen(PromotionError):
    """The machine has a GPU that torch can't use."""


def refuse_unseen(environment: Mapping[str, str], *, seen: bool | None = None, devices: Path = _DEVICES) -> None:
    """Refuse to compute on the CPU of a machine that has a GPU.

    `CUDA_VISIBLE_DEVICES` with an empty value or -1 allows the CPU.

    Args:
        environment: the process's variables.
        seen: whether torch sees a GPU; by default torch is called.
        devices: the folder of device files.

    Raises:
        GpuUnseen: there is a GPU, but torch doesn't see it.
    """
    present = any(re.fullmatch(r"nvidia\d+", entry.name) for entry in devices.glob("nvidia*"))
    meant = environment.get(VISIBLE, "0").strip() not in ("", "-1", "none", "NoDevFiles")
    if present and meant and not (torch.cuda.is_available() if seen is None else seen):
        version = driver_version()
        raise GpuUnseen(
            f"This machine has a GPU that torch {torch.__version__} doesn't see: its driver is {version or 'unknown'}, and "
            f"CUDA {torch.version.cuda or '(this torch has none)'} needs {NATIVE_DRIVER} or cuda-compat. Take another AMI by "
            f"[advanced.inference] transform_ami_version or inference_ami_version, or set {VISIBLE}=-1 to compute on the CPU."
        )
