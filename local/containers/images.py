"""Supported images with their commands: ours, XGBoost's, scikit-learn's, and those in a file."""

from __future__ import annotations

import fnmatch
import os
import tomllib
from pathlib import Path

from local.containers import packages
from promotion.errors import Invalid

# A TOML file of the user's, with commands by image pattern.
LOCAL_CONTAINERS = "LOCAL_CONTAINERS"
_SERVER = Path(__file__).with_name("tabular.py")
_OWN = ["python", "-m", "inference", "serve"]
# By repository, without registry, tag and digest. The usual text containers answer like the inference image.
_OURS = (
    "*/inference",
    "*promotion*",
    "*huggingface-pytorch-inference*",
    "*huggingface-pytorch-tgi*",
    "*djl-inference*",
)
_TABULAR = {"*sagemaker-xgboost*": "xgboost", "*sagemaker-scikit-learn*": "scikit-learn"}


def command_of(image: str) -> list[str]:
    """Return the command that serves like a container of this image.

    Raises:
        Invalid: the image isn't supported, or the user's file can't be read.
    """
    registry, _, name = image.partition("@")[0].rpartition("/")
    name = f"{registry.partition('/')[2]}/{name.partition(':')[0]}"
    for pattern, command in _configured().items():
        if fnmatch.fnmatchcase(image, pattern):
            return command
    for pattern, kind in _TABULAR.items():
        if fnmatch.fnmatchcase(name, pattern):
            return [packages.python(), str(_SERVER), kind]
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _OURS):
        return _OWN
    raise Invalid(
        "Image",
        f"{image} is not run on this machine, which has no Docker: it runs the inference image, XGBoost's and scikit-learn's. "
        f"For another, name a command in the file of {LOCAL_CONTAINERS} (docs/local.md).",
    )


def _configured() -> dict[str, list[str]]:
    """Return the configured commands, by patterns of whole image names."""
    file = os.environ.get(LOCAL_CONTAINERS)
    if not file:
        return {}
    try:
        found = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Invalid(LOCAL_CONTAINERS, f"{file} can't be read: {error}") from None
    for pattern, command in found.items():
        if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
            raise Invalid(LOCAL_CONTAINERS, f"{file}, {pattern!r}: a command is a list of texts.")
    return found
