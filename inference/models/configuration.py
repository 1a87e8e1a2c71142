"""Configuration of a model folder: location of the model, task, classes, custom code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.errors import ModelBroken, ModelRefused
from inference.models.json_files import read_fields, read_json
from promotion.domain.model_tasks import TASKS, TEXT_GENERATION, TEXT_TO_TEXT, ZERO_SHOT, task_named, task_told

__all__ = ["TEXT_GENERATION", "TEXT_TO_TEXT", "ZERO_SHOT"]

HF_TASK = "HF_TASK"
CONFIG = "config.json"
# Where the usual containers look for an inference script. This image never runs it.
CODE_FOLDER = "code"
# Formats that can run code when they are opened.
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack", ".mar")
# Files with such names that are not weights, and never opened as weights.
_HARMLESS = frozenset({"training_args.bin"})

log = logging.getLogger("inference")


def model_folder(folder: Path) -> Path:
    """Return the folder with config.json: `folder` itself, or the only one directly below it that has one.

    Raises:
        ModelBroken: there is no such folder, or there are several.
    """
    if (folder / CONFIG).exists():
        return folder
    below = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(path.name for path in below)
        raise ModelBroken(f"{CONFIG} is missing at the top, and several folders have one ({names}): pack one model.")
    raise ModelBroken(f"{CONFIG} is missing: this is no folder in Hugging Face's layout.")


def read_config(folder: Path) -> dict[str, Any]:
    """Return the object in config.json.

    Raises:
        ModelBroken: the file is missing, can't be read, or is no JSON object.
    """
    return read_object(folder, CONFIG)


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """Return the object in a JSON file of a model's folder.

    Raises:
        ModelBroken: the file is missing, can't be read, or is no JSON object; names the file.
    """
    found = read_json(folder / name)
    if not isinstance(found, dict):
        raise ModelBroken(f"{name} holds no object.")
    return found


def refuse_code(folder: Path, config: Mapping[str, Any], model: Path | None = None) -> None:
    """Refuse pickled weights, links and code that loading would have to run; scripts below `code/` are only logged.

    Args:
        folder: The whole artifact.
        config: The model's config.json.
        model: The folder with config.json, if it is not the top folder.

    Raises:
        ModelRefused: one of them was found; the message names it.
    """
    paths = [path for path in folder.rglob("*") if path.name not in _HARMLESS]
    if not any(path.suffix == ".safetensors" for path in paths):
        found = ", ".join(sorted(path.name for path in paths if path.suffix in _PICKLED)) or "nothing"
        raise ModelRefused(f"Only safetensors weights are opened, and there are none here (found: {found}).")
    asked = [
        config,
        *(_fields((model or folder) / name) for name in ("tokenizer_config.json", "generation_config.json")),
    ]
    scripts = [path for path in paths if path.suffix == ".py"]
    unrun = [path for path in scripts if path.relative_to(folder).parts[0] == CODE_FOLDER]
    if len(scripts) > len(unrun) or any("auto_map" in fields for fields in asked):
        raise ModelRefused("This model brings code of its own (auto_map or *.py); such code is not run.")
    links = sorted(path.name for path in paths if path.is_symlink())
    if links:
        raise ModelRefused(f"Links in a model folder are not followed: {', '.join(links)}.")
    if unrun:
        names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in unrun))
        log.warning("left unrun: %s; this image answers by its own pipeline", names)


def task_of(named: str | None, config: Mapping[str, Any]) -> str:
    """Return the task of a model: the one that the package states, else by config.json's architectures.

    Raises:
        ModelBroken: the task is unknown, or the architectures don't determine it.
    """
    if named:
        known = task_named(named)
        if known is None:
            raise ModelBroken(f"{HF_TASK}={named} is not a task of this pipeline; there are {', '.join(TASKS)}.")
        return known
    if (told := task_told(config)) is not None:
        return told
    architectures = [str(name) for name in config.get("architectures") or []]
    raise ModelBroken(
        f"{HF_TASK} is not set, and config.json's architectures ({', '.join(architectures) or 'none'}) do not tell."
    )


def classes_of(config: Mapping[str, Any]) -> dict[int, str] | None:
    """Return a classifier's classes by number, from `id2label`, else from `label2id`; None if both are missing.

    Raises:
        ModelBroken: the field is no table of numbers and names.
    """
    names, numbers = config.get("id2label"), config.get("label2id")
    try:
        if names:
            return {int(number): str(name) for number, name in names.items()}
        return {int(number): str(name) for name, number in numbers.items()} if numbers else None
    except (AttributeError, TypeError, ValueError):
        raise ModelBroken(f"{CONFIG}: id2label must be an object that names each class by its number.") from None


def _fields(path: Path) -> dict[str, Any]:
    """Return the object in a file, empty if the file is missing or broken; another reader reports that."""
    try:
        return read_fields(path)
    except ModelBroken:
        return {}
