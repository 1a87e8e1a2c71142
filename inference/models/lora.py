"""LoRA adapters: merged with the weights of their base model at loading.

An adapter's artifact has PEFT's two files, `base.json` with the SHA-256 of the base's manifest, and usually the base
itself under `base/`. A base that differs in a single byte gives another model, which nobody has approved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from inference.errors import ModelBroken, ModelRefused
from inference.models.json_files import read_fields
from promotion.client.artifact import manifest_of_folder

CONFIG, WEIGHTS, BOUND = "adapter_config.json", "adapter_model.safetensors", "base.json"
BASE_FOLDER = "base"
# The folder of a base that the artifact doesn't contain: in the image, or on a mounted disk.
BASE_MODEL = "PROMOTION_BASE_MODEL"
_OUTER = "base_model.model."
# Fields of PEFT's LoRA that can be merged, and those that would change the result.
_REFUSED = ("use_dora", "fan_in_fan_out", "modules_to_save", "layer_replication", "rank_pattern", "alpha_pattern",
            "lora_bias", "trainable_token_indices", "target_parameters", "alora_invocation_tokens")  # fmt: skip


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def base_of(folder: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of an adapter's base, after checking the hash that the adapter is bound to.

    Raises:
        ModelRefused: it is another base, or the adapter names none.
        ModelBroken: there is no base, or base.json can't be read.
    """
    bound = read_fields(folder / BOUND).get("manifest_sha256")
    if not isinstance(bound, str) or len(bound) != 64:
        raise ModelRefused(f"This adapter is bound to no base: {BOUND} has no manifest_sha256.")
    brought = folder / BASE_FOLDER
    named = (environment if environment is not None else os.environ).get(BASE_MODEL, "").strip()
    base = brought if brought.is_dir() else Path(named)
    if not brought.is_dir() and (not named or not base.is_dir()):
        raise ModelBroken(
            f"This adapter's base is missing: it is neither in {BASE_FOLDER}/ nor where {BASE_MODEL} points."
        )
    found = manifest_of_folder(base).sha256
    if found != bound.lower():
        raise ModelRefused(
            f"This adapter was made for another base: it is bound to {bound}, and {base.name} is {found}. "
            "It is not put onto weights that it was not trained with."
        )
    return base


@torch.inference_mode()
def apply(model: Any, folder: Path) -> int:
    """Add an adapter to a model's weights, in float32 and then in the model's dtype; return how many changed.

    Raises:
        ModelBroken: the adapter is no plain LoRA, or doesn't fit the model.
    """
    scale = _scale(read_fields(folder / CONFIG))
    try:
        tensors = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors raises what its own code does, and the file may hold anything
        raise ModelBroken(f"{WEIGHTS} can't be read: {error}") from error
    pairs = _pairs(tensors)
    for name, (down, up) in pairs.items():
        if down.ndim != 2 or up.ndim != 2:
            raise ModelBroken(f"The adapter's {name} is no pair of matrices.")
        try:
            weight: Tensor = model.get_submodule(name).weight  # (out, in)
        except AttributeError:
            raise ModelBroken(f"The adapter changes {name}, which the base has not.") from None
        if (up.shape[0], down.shape[1]) != tuple(weight.shape) or up.shape[1] != down.shape[0]:
            raise ModelBroken(
                f"The adapter's {name} is {up.shape[0]} by {down.shape[1]}, the base's {tuple(weight.shape)}."
            )
        # (out, rank) @ (rank, in): merged once, so that inference is as fast as without an adapter.
        change = up.to(weight.device, torch.float32) @ down.to(weight.device, torch.float32)
        weight.copy_((weight.float() + scale * change).to(weight.dtype))
    return len(pairs)


def _scale(config: Mapping[str, Any]) -> float:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelBroken(f"Only LoRA adapters are put onto a base here, and this is {kind}: merge it before packing.")
    if odd := [name for name in _REFUSED if config.get(name)]:
        raise ModelBroken(f"The adapter uses {odd[0]}, which is more than plain LoRA: merge it before packing.")
    if config.get("bias", "none") != "none":
        raise ModelBroken("The adapter brings biases, which is more than plain LoRA: merge it before packing.")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ModelBroken(f"{CONFIG} has no rank and alpha.")
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the matrices by module: from its input to the rank, and from the rank to its output."""
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, _, half = key.removeprefix(_OUTER).removesuffix(".weight").rpartition(".")
        if half not in ("lora_A", "lora_B") or not key.startswith(_OUTER):
            raise ModelBroken(f"The adapter holds {key}, which is more than plain LoRA: merge it before packing.")
        halves.setdefault(module, {})[half] = tensor
    if not halves or any(len(found) != 2 for found in halves.values()):
        raise ModelBroken(f"{WEIGHTS} holds half an adapter, or none.")
    return {module: (found["lora_A"], found["lora_B"]) for module, found in halves.items()}
