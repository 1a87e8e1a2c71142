"""Check of file references in a model folder: same folder and allowed formats only.

transformers opens the files that a weight index or a tokenizer's configuration names, at any path, including pickles.
So the names are checked before any file is opened: a file outside the folder is in no manifest.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inference.errors import ModelBroken, ModelRefused
from inference.models.json_files import read_fields

_LARGEST_DOCUMENT = 64 << 20
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".msgpack", ".h5", ".joblib", ".npy", ".npz")
# Keys of tokenizer_config.json, processor_config.json and adapter_config.json whose value is a file.
_FILE_KEYS = re.compile(r".*_file$")
_NEVER_OPENED = ("special_tokens_map_file",)
_LAYERS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers",
)  # fmt: skip


def check_named_files(folder: Path, config: dict[str, Any]) -> None:
    """Check every file name in the model's own files, and that the weights contain all layers.

    Raises:
        ModelRefused: A name leads out of the folder, or to a file in a format that isn't allowed.
        ModelBroken: A named file is missing, or no weight file has as many layers as config.json states.
    """
    for path in sorted(folder.rglob("*.json")):
        if path.name.endswith(".index.json"):
            _check_index(path)
        elif path.name.endswith("_config.json"):
            _check_configuration(path)
    _check_layers(folder, config)


def _check_index(path: Path) -> None:
    weight_map = _document(path).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ModelBroken(f"{path.name} has no weight_map.")
    for name in dict.fromkeys(weight_map.values()):
        if not isinstance(name, str) or Path(name).name != name or "\\" in name or name in ("", ".", ".."):
            raise ModelRefused(f"{path.name} names {name!r}, which is no file beside it.")
        if not name.endswith(".safetensors"):
            raise ModelRefused(f"{path.name} names {name!r}: only safetensors weights are opened.")
        if not (path.parent / name).is_file():
            raise ModelBroken(f"{path.name} names {name!r}, which is missing.")


def _check_configuration(path: Path) -> None:
    for key, name in _document(path).items():
        if not _FILE_KEYS.fullmatch(key) or not isinstance(name, str):
            continue
        if name.lower().endswith(_PICKLES):
            raise ModelRefused(f"{path.name}, {key}: {name!r} is a pickle, and is not opened.")
        # A tokenizer may contain the path at which it was trained; transformers then opens the file with that name
        # here.
        is_here = (path.parent / Path(name).name).is_file()
        if ".." in Path(name).parts or (Path(name).is_absolute() and not is_here and key not in _NEVER_OPENED):
            raise ModelRefused(f"{path.name}, {key}: {name!r} lies outside of the approved folder.")


def _check_layers(folder: Path, config: dict[str, Any]) -> None:
    """Refuse more layers than the weight files have tensors, as each layer takes memory before weights are read."""
    counted = [(key, value) for key in _LAYERS if isinstance(value := config.get(key), int)]
    if not counted:
        return
    # macOS writes "._model.safetensors" beside a file; it is no weight file.
    weights = [path for path in folder.glob("*.safetensors") if not path.name.startswith(".")]
    tensors = sum(1 for path in weights for _ in _tensors(path))
    for key, value in counted:
        if value > max(tensors, 1):
            raise ModelBroken(
                f"config.json, {key}: {value} layers, but the weights in the folder are {tensors} tensors in all."
            )


def _tensors(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LARGEST_DOCUMENT:
                raise ModelBroken(f"The weights do not load: {path.name} has a header of {length} bytes.")
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError, struct.error):
        raise ModelBroken(
            f"The weights do not load: {path.name} is damaged, or not in the safetensors format."
        ) from None
    yield from (name for name in header if name != "__metadata__") if isinstance(header, dict) else ()


def _document(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_DOCUMENT:
        raise ModelBroken(f"{path.name} is larger than {_LARGEST_DOCUMENT} bytes.")
    return read_fields(path)
