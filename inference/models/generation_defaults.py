"""Check of the defaults in a model's generation_config.json at start; errors name file and key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.errors import ModelBroken
from inference.models.configuration import read_object
from promotion.domain.generation_config import FILE, defaults_problem
from promotion.errors import Invalid


def check(folder: Path) -> None:
    """Check generation_config.json in `folder`, if it exists.

    Raises:
        ModelBroken: the file is no JSON object, or a value can't be used; names the file and the key.
    """
    if (folder / FILE).exists() and (problem := defaults_problem(read_object(folder, FILE))):
        raise ModelBroken(problem)


@contextmanager
def blamed_on_file() -> Iterator[None]:
    """Report an error in a model's defaults as an error of the file, not of the client.

    Raises:
        ModelBroken: instead of Invalid.
    """
    try:
        yield
    except Invalid as error:
        raise ModelBroken(f"{FILE}: {error.field} {error.reason}") from None
