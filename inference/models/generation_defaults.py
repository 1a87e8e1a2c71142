"""The defaults that a model carries in generation_config.json, checked at start and told by file and key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.errors import ModelBroken
from inference.models.configuration import read_object
from promotion.domain.generation_config import FILE, defaults_problem
from promotion.errors import Invalid


def check(folder: Path) -> None:
    """Check generation_config.json in `folder`, where there is one.

    Raises:
        ModelBroken: it is no JSON object, or a value can't be used; names the file and the key.
    """
    if (folder / FILE).exists() and (problem := defaults_problem(read_object(folder, FILE))):
        raise ModelBroken(problem)


@contextmanager
def told_by_file() -> Iterator[None]:
    """Report an error in a model's defaults as the file's fault, not as a client's.

    Raises:
        ModelBroken: instead of Invalid.
    """
    try:
        yield
    except Invalid as error:
        raise ModelBroken(f"{FILE}: {error.field} {error.reason}") from None
