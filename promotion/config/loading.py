"""Loading of a `promotion.toml`; errors name the place in the file and the reason."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from promotion import names
from promotion.config import advanced, checks
from promotion.config.settings import Config, duration
from promotion.errors import Invalid

__all__ = ["Config", "duration", "load", "parse"]


def parse(text: str, *, source: str = names.CONFIG_FILE) -> Config:
    """Parse the text of a `promotion.toml` to a configuration.

    Raises:
        Invalid: the text is no valid configuration; the error has the place in the file and the reason.
    """
    try:
        document: Mapping[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(source, f"this is not TOML: {error}") from None
    document = advanced.merged(document, source)
    try:
        config = msgspec.convert(document, Config, strict=True)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        place = advanced.place(place.strip("`").removeprefix("$").removeprefix("."), _names(document))
        raise Invalid(f"{source} {place or 'top level'}", reason) from None
    checks.check(config, source)
    return config


def _names(document: Mapping[str, object]) -> list[str]:
    found = document.get("environments")
    return [str(each.get("name")) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def load(path: str | os.PathLike[str] | None = None) -> Config:
    """Load the configuration: `path`, else the file in PROMOTION_CONFIG, else ./promotion.toml.

    Raises:
        Invalid: there is no such file, or its content is invalid.
    """
    place = Path(path or os.environ.get(names.CONFIG) or names.CONFIG_FILE)
    try:
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Invalid(str(place), f"there is no such file; set {names.CONFIG} or pass --config.") from None
    except UnicodeDecodeError:
        raise Invalid(str(place), "this is not UTF-8.") from None
    return parse(text, source=str(place))
